"""What `configs/pretrain.cfg` may hold, and how it is read."""

from collections.abc import Callable
from configparser import ParsingError
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

from ..errors import Errors, NunerError

SECTION_ORDER = ["paths", "features", "model", "objective", "training", "watch"]


class Section(BaseModel):
    """A section of the config; keys it does not know are errors."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class PathSettings(Section):
    """Where the corpus, the base encoder and the labelled set of the probe are."""

    corpus: Path
    base: str
    probe_train: Path | None
    probe_dev: Path | None

    @model_validator(mode="after")
    def _check_probe(self) -> "PathSettings":
        if (self.probe_train is None) != (self.probe_dev is None):
            raise ValueError("probe_train and probe_dev go together: set both or none")
        return self


class FeatureSettings(Section):
    """How texts and concepts become word pieces."""

    max_length: int = Field(ge=8)
    max_concept_length: int = Field(ge=4)


class ModelSettings(Section):
    """What the two encoders are and what of them is trained."""

    frozen_layers: int | None = Field(ge=0)
    pooling: Literal["mean", "cls"]
    template: str
    description_dropout: float = Field(ge=0, le=1)
    dropout: float | None = Field(ge=0, lt=1)
    initial_scale: float | None = Field(gt=0)
    initial_bias: float

    @field_validator("template")
    @classmethod
    def _check_template(cls, template: str) -> str:
        try:
            filled = template.format(name="\0name", description="\0description")
        except (LookupError, ValueError) as error:
            raise ValueError(f"it holds more than these two: {error}") from error
        if "\0name" not in filled or "\0description" not in filled:
            raise ValueError("it needs both {name} and {description}")
        return template


class TrainingSettings(Section):
    """The run: length, rates, precision, checkpoints."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    accumulate_gradient: int = Field(ge=1)
    learn_rate: float = Field(gt=0)
    warmup: float = Field(ge=0, lt=1)
    max_grad_norm: float = Field(gt=0)
    precision: Literal["auto", "bf16", "fp32"]
    seed: int = Field(ge=0)
    logging_steps: int = Field(ge=1)
    save_steps: int = Field(ge=0)
    save_minutes: float = Field(ge=0)
    report_to: list[str]


class WatchSettings(Section):
    """Looks at the backbone in training: when, at what, and which one is kept."""

    every_steps: int = Field(ge=0)
    validation_share: float = Field(ge=0, lt=1)
    probe_k: int = Field(ge=1)
    probe_draws: int = Field(ge=1)
    probe_lang: str
    keep_best: bool


class Settings(Section):
    """The whole config, resolved."""

    paths: PathSettings
    features: FeatureSettings
    model: ModelSettings
    objective: Callable[..., Any]
    training: TrainingSettings
    watch: WatchSettings

    @model_validator(mode="after")
    def _check_best(self) -> "Settings":
        looks = self.watch.every_steps and self.paths.probe_dev is not None
        if self.watch.keep_best and not looks:
            raise ValueError(
                "watch.keep_best goes by the probe: set watch.every_steps above 0, "
                "paths.probe_train and paths.probe_dev"
            )
        return self


def read_config(path: Path, overrides: dict[str, Any]) -> Config:
    """Read a config file and put overrides in.

    path (Path): The config file.
    overrides (dict[str, Any]): Values by dotted name, such as "training.epochs".
    RETURNS (Config): The config, variables filled in, functions not yet resolved.
    RAISES (NunerError): N005 if there is no such file, N301 if it is no valid config.
    """
    try:
        return Config(section_order=SECTION_ORDER).from_disk(path, overrides=overrides)
    except OSError as error:
        todo = "Name a config file such as configs/pretrain.cfg."
        raise NunerError(
            Errors.N005, path=path, reason=error.strerror, todo=todo
        ) from error
    except (ConfigValidationError, ParsingError, UnicodeDecodeError) as error:
        raise NunerError(Errors.N301, problems=_confection_problems(error)) from error


def resolve_settings(config: Config) -> Settings:
    """Check a config and make the objects that it names.

    config (Config): The config as read.
    RETURNS (Settings): The settings with their types.
    RAISES (NunerError): N301 with the place of each setting that does not fit.
    """
    # Imported to register what the shipped config names.

    try:
        return Settings.model_validate(registry.resolve(config))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            + (f" (found {problem['input']!r})" if problem["type"] != "missing" else "")
            for problem in error.errors()
        )
        raise NunerError(Errors.N301, problems=problems) from error
    except (ConfigValidationError, RegistryError) as error:
        raise NunerError(Errors.N301, problems=_confection_problems(error)) from error


def _confection_problems(error: Exception) -> str:
    if isinstance(error, ConfigValidationError) and error.errors:
        return "; ".join(
            f"{'.'.join(map(str, problem.get('loc', [])))}: {problem.get('msg')}"
            for problem in error.errors
        )
    return " ".join(str(error).split())
