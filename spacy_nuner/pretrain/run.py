"""Pre-training from a config to a backbone folder."""

import contextlib
import copy
import errno
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from thinc.api import Config
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import set_seed
from transformers.training_args import TrainingArguments

from ..about import __version__
from ..encoders.concept_encoder import ConceptEncoder, Pooling
from ..encoders.folder import FORMAT, BackboneInfo, read_info, save_backbone
from ..encoders.layers import (
    encoder_layers,
    hash_weights,
    load_encoder,
    max_pieces,
    set_dropout,
)
from ..encoders.safety import describe, read_object
from ..errors import Errors, NunerError, Warnings
from ..files import hash_file
from ..outputs import Work, check_output, write_folder
from ..readers.docbin import find_shards
from ..utf8 import check_utf8
from .corpus_vectors import fit_scale, sample_background
from .data.features import Features, build_features, has_features
from .evaluation import (
    Probe,
    describe_evaluation,
    hold_out,
    read_history,
    write_history,
)
from .model import ContrastiveModel, Similarity, process_group
from .settings import Settings, complete_config, resolve_settings
from .trainer import (
    COMPLETE,
    PretrainTrainer,
    checkpoint_step,
    choose_learn_rate,
    find_checkpoint,
    find_whole_checkpoint,
    trainer_environment,
    training_arguments,
)

CONFIG_FILE = "config.cfg"
# What a run that broke off leaves.
LEFTOVERS = (
    rf"{re.escape(CONFIG_FILE)}|data\.(json|tmp)"
    r"|features/(shards/)?[^/]+\.(arrow|json|tmp)"
    r"|checkpoints/checkpoint-\d+/(complete|[^/]+\.(json|safetensors|pt|pth|bin))"
    r"|checkpoints/runs/.*|timing/.*|new/.*"
)
# Settings that may differ in a run that goes on: none of them changes what is learned,
# but the precision, which a loss that is no number may ask for.
FREE = {"save_steps", "report_to", "precision"}
# How the concept encoder makes one vector of its word pieces. The first piece ("cls")
# was measured and is no better (docs/recipe.md).
POOLING: Pooling = "mean"
# A word piece is of few concepts: logits start low.
INITIAL_BIAS = -3.0
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "spacy")

logger = logging.getLogger("spacy_nuner")


@process_group()
def pretrain(
    config: Config,
    output: Path,
    *,
    gpu_id: int = -1,
    resume: bool = False,
    n_process: int = 1,
    command: str = "",
    callbacks: Sequence[TrainerCallback] = (),
    probe: Probe | None = None,
) -> BackboneInfo | None:
    """Pre-train a backbone.

    config (Config): As `read_config` gives it; what it leaves out has its default.
    output (Path): The backbone folder to make; one made earlier is replaced.
    gpu_id (int): The GPU to use, -1 for the processor. Under torchrun each process
        takes the one of its rank.
    resume (bool): Whether to go on from the last checkpoint of a run that broke off,
        if there is one, and to leave a backbone alone that this run has made already.
    n_process (int): How many processes make the features.
    command (str): The command line, for the record and for the advice on how to go on.
    callbacks (Sequence[TrainerCallback]): Called at each step. One that draws random
        numbers has a generator of its own, or a resumed run is not the same run.
    probe (Probe | None): What is measured on a labelled set at every evaluation.
    RETURNS (BackboneInfo | None): What went into `nuner.json`; None in the processes
        of a distributed run that are not the first.
    RAISES (NunerError): What `prepared` raises; N309 if the loss is no longer a number,
        N700 if a step does not fit into memory.
    """
    config = complete_config(config)
    if resume and (info := find_finished(config, output)):
        return info if _is_first_process() else None
    with prepared(
        config,
        output,
        gpu_id=gpu_id,
        resume=resume,
        n_process=n_process,
        command=command,
    ) as run:
        if resume and run.checkpoint is None and _is_first_process():
            logger.warning(
                "There is nothing to resume in '%s': the run begins.", run.folder.path
            )
        trainer = PretrainTrainer(
            model=run.model,
            args=run.arguments,
            settings=run.settings,
            features=run.features,
            held_out=run.held_out,
            probe=probe,
            callbacks=callbacks,
        )
        started = time.monotonic()
        last = str(run.checkpoint) if run.checkpoint else None
        resumed = checkpoint_step(run.checkpoint) if run.checkpoint else 0
        trainer.train(resume_from_checkpoint=last)
        if not trainer.is_world_process_zero():
            return None

        history, step = read_history(trainer.state), trainer.best_step()
        training = {
            "steps": trainer.state.global_step,
            "seconds": round(time.monotonic() - started),
            "final_loss": trainer.last_loss(),
            "best_step": step,
            # Seconds are those since then.
            **({"resumed_at_step": resumed} if resumed else {}),
            "base_sha256": run.base_sha256,
            **describe_evaluation(history, step),
        }
        info = _describe_run(run, config, training=training, command=command)
        model, target = run.model, run.folder.work.target
        save_backbone(
            target,
            info,
            text_encoder=model.text_encoder,
            concept_encoder=model.concept_encoder.encoder,
            tokenizer=model.concept_encoder.tokenizer,
            background=sample_background(
                model, run.corpus, seed=run.settings.training.seed
            ),
        )
        write_history(target, history, step)
    return info


@dataclass
class Run:
    """A run before its first step."""

    folder: "RunFolder"
    """Where it works."""
    settings: Settings
    """Its config, resolved."""
    arguments: TrainingArguments
    """The same for the Trainer."""
    checkpoint: Path | None
    """What it goes on from, if it broke off earlier."""
    model: ContrastiveModel
    """What is trained, as at the first step."""
    base_sha256: str
    """Hash of the weights of the base encoder."""
    data: dict[str, Any]
    """Counts and hashes of the corpus."""
    corpus: Features
    """The whole corpus."""
    features: Features
    """What of it is trained on."""
    held_out: Features
    """What of it is only evaluated on."""


@contextlib.contextmanager
def prepared(
    config: Config,
    output: Path,
    *,
    gpu_id: int,
    resume: bool,
    n_process: int,
    command: str,
) -> Iterator[Run]:
    """Claim the folder of a run, load the base encoder and make the features.

    What is in `Work.target` at the end becomes the backbone folder.

    config (Config): The config, complete.
    output, gpu_id, resume, n_process, command: As for `pretrain`.
    YIELDS (Run): The run.
    RAISES (NunerError): For settings, paths, encoders and corpora that can't be used;
        N311 if there is a run that broke off and `resume` is not asked for; N322 if all
        checkpoints of the run are damaged, N323 if something else in its folder is.
    """
    settings = resolve_settings(config)
    find_shards(settings.paths.corpus)
    check_utf8(output, "the folder of the backbone")
    folder = RunFolder(output, _list_inputs(settings))
    with contextlib.ExitStack() as stack:
        stack.enter_context(trainer_environment(gpu_id))
        last, damaged = (
            find_whole_checkpoint(folder.checkpoints) if resume else (None, [])
        )
        arguments = training_arguments(
            settings, folder.checkpoints, gpu_id=gpu_id, resume=last is not None
        )
        first = arguments.process_index == 0
        if first:
            stack.enter_context(folder.claimed(config, resume=resume))
        if first and last:
            going_on = f"{checkpoint_step(last):,}"
            for error in damaged:
                message = Warnings.W322.format(error=error, step=going_on)
                logger.warning(message)

        # Both encoders start from the base encoder.
        set_seed(settings.training.seed)
        model = build_model(settings, on_cpu=arguments.device.type == "cpu")
        base_sha256 = hash_weights(model.text_encoder)
        if first:
            inputs = _describe_inputs(settings, model, base_sha256)
            resumed = last is not None
            stack.enter_context(
                folder.opened(config, inputs, resume=resumed, command=command)
            )
            is_saving = arguments.save_strategy != "no"
            _check_space(
                folder.path, model, checkpoints=most_held(arguments) * is_saving
            )

        # Texts and concepts become word pieces, once.
        data: dict[str, Any] = {}
        with arguments.main_process_first(local=False):
            if first:
                data = folder.build_features(settings, model, n_process=n_process)
        with folder.explaining_damage():
            corpus = Features.from_folder(folder.features)
        features, held_out = hold_out(corpus, settings.evaluation.validation_share)

        if settings.model.initial_scale is None:
            model.to(arguments.device)
            model.similarity.scale.data.fill_(fit_scale(model, features))
        yield Run(
            folder=folder,
            settings=settings,
            arguments=arguments,
            checkpoint=last,
            model=model,
            base_sha256=base_sha256,
            data=data,
            corpus=corpus,
            features=features,
            held_out=held_out,
        )


def find_finished(config: Config, output: Path) -> BackboneInfo | None:
    """Look whether a run has been to its end already.

    config (Config): The config of the run, complete.
    output (Path): The backbone folder that it makes.
    RETURNS (BackboneInfo | None): The metadata of the backbone; None if there is none,
        or one of other settings, another corpus or another base encoder.
    """
    settings = resolve_settings(config)
    info = read_info(output)
    if info is None:
        return None
    try:
        changed = set(_list_changes(info.settings, config))
    except NunerError:
        # Of a release with other settings.
        return None
    # Corpus and encoder may lie elsewhere, and the rate may follow from the encoder.
    if changed - {"paths.corpus", "paths.base", "training.learn_rate"}:
        return None
    if info.data.get("sha256") != _hash_shards(settings.paths.corpus):
        return None
    _, encoder = load_encoder(settings.paths.base)
    rate = settings.training.learn_rate or choose_learn_rate(encoder)
    if info.settings["training"]["learn_rate"] != rate:
        return None
    if info.training.get("base_sha256") != hash_weights(encoder):
        return None
    if "averaged" in info.training:
        # Of several runs, with the settings of the first.
        return None
    if _is_first_process():
        logger.warning(
            "'%s' was made from the same corpus and encoder by the same settings: "
            "nothing is left to do.",
            output,
        )
    return info


def _is_first_process() -> bool:
    # As torchrun tells, before there is a process group.
    return os.environ.get("RANK", "0") == "0"


def build_model(settings: Settings, *, on_cpu: bool) -> ContrastiveModel:
    """Load the base encoder twice and put the contrast on top.

    settings (Settings): The config.
    on_cpu (bool): Whether it is trained on the processor.
    RETURNS (ContrastiveModel): Ready to be trained.
    RAISES (NunerError): N001, N002, N007 for the base encoder; N009 if it has fewer
        layers than are to be frozen, N317 if as many; N307 if it takes fewer word
        pieces at once.
    """
    # torch's fused attention has no dropout on the processor, and without dropout its
    # backward pass is slower there than plain products, at 8 to 128 word pieces.
    attention = "eager" if on_cpu else None
    tokenizer, text_encoder = load_encoder(settings.paths.base, attention=attention)
    if settings.model.dropout is not None:
        set_dropout(text_encoder, settings.model.dropout)
    limit = max_pieces(tokenizer, text_encoder)
    for key, found in settings.features:
        if found > limit:
            raise NunerError(
                Errors.N307, key=f"features.{key}", found=found, limit=limit
            )
    frozen = settings.model.frozen_layers
    count = len(encoder_layers(text_encoder))
    if frozen is None:
        frozen = count // 3
    if frozen == count:
        raise NunerError(Errors.N317, found=frozen, limit=count - 1)
    concept_encoder = ConceptEncoder(
        copy.deepcopy(text_encoder),
        tokenizer,
        pooling=POOLING,
        template=settings.model.template,
        max_length=settings.features.max_concept_length,
    )
    scale = settings.model.initial_scale or 1.0
    return ContrastiveModel(
        text_encoder,
        concept_encoder,
        Similarity(scale=scale, bias=INITIAL_BIAS),
        settings.objective,
        frozen_layers=frozen,
    )


class RunFolder:
    """The folder of a run, removed at its end unless it can be resumed."""

    def __init__(self, output: Path, inputs: Sequence[Path | str]) -> None:
        """Check the output.

        output (Path): The backbone folder that the run makes.
        inputs (Sequence[Path | str]): What it reads.
        RAISES (NunerError): What `check_output` raises.
        """
        self.output = check_output(output, inputs=inputs, folder=True, replaced=True)
        self.path = self.output.with_name(f"{self.output.name}.work")
        self.features = self.path / "features"
        self.checkpoints = self.path / "checkpoints"
        self.timing = self.path / "timing"
        self.data = self.path / "data.json"
        self.work: Work

    @contextlib.contextmanager
    def claimed(self, config: Config, *, resume: bool) -> Iterator[None]:
        """Keep other processes away, and put the backbone in place at the end.

        config (Config): The config of the run, complete.
        resume (bool): Whether to resume from a checkpoint, if there is one.
        RAISES (NunerError): What `write_folder` raises, N311 if there is a run to go on
            with and it is not asked for, N312 if it was made under another config.
        """
        with write_folder(
            self.output, command="pretrain", leftovers=LEFTOVERS
        ) as self.work:
            if find_checkpoint(self.checkpoints):
                if not resume:
                    raise NunerError(Errors.N311, path=self.path)
                self._check_config(config)
            yield

    @contextlib.contextmanager
    def opened(
        self,
        config: Config,
        inputs: str,
        *,
        resume: bool,
        command: str,
    ) -> Iterator[None]:
        """Fill the folder of a new run, or go on with the one that is there.

        config (Config): The config of the run, complete.
        inputs (str): What the features are made from.
        resume (bool): Whether to resume from a checkpoint.
        command (str): What started the run, shown if it breaks off.
        RAISES (NunerError): N312 if a run that goes on had another corpus or encoder.
        """
        before = self.work.read_run()
        if resume and before:
            self._check_inputs(before["run"], inputs)
            # It is the one that it was, under a later release too.
            inputs = before["run"]
        self.work.begin(inputs)
        config.to_disk(self.path / CONFIG_FILE)
        # Of a process that was killed while it timed some steps.
        shutil.rmtree(self.timing, ignore_errors=True)
        for path in self.checkpoints.glob("checkpoint-*"):
            # Of a run that was killed while it wrote it.
            if not (path / COMPLETE).exists():
                shutil.rmtree(path)
        try:
            yield
        except BaseException:
            self._advise(command)
            raise

    def build_features(
        self, settings: Settings, model: ContrastiveModel, *, n_process: int
    ) -> dict[str, Any]:
        """Turn the corpus into Arrow files, unless an earlier start has done so.

        RETURNS (dict[str, Any]): Counts and hashes of the corpus.
        """
        if not self.data.exists():
            data = build_features(
                settings.paths.corpus,
                self.features,
                concept_encoder=model.concept_encoder,
                max_length=settings.features.max_length,
                n_process=n_process,
            )
            temporary = self.data.with_suffix(".tmp")
            temporary.write_text(json.dumps(data), encoding="utf8")
            temporary.replace(self.data)
        with self.explaining_damage():
            data = read_object(self.data)
        return data

    @contextlib.contextmanager
    def explaining_damage(self) -> Iterator[None]:
        """RAISES (NunerError): N323 if what an earlier start wrote can't be read."""
        try:
            yield
        except NunerError:
            raise
        except Exception as error:
            # Arrow, JSON and configs each have exceptions of their own.
            reason = describe(error)
            raise NunerError(Errors.N323, path=self.path, reason=reason) from error

    def _advise(self, command: str) -> None:
        """Say how to resume, or remove what there is nothing to resume from."""
        if checkpoint := find_checkpoint(self.checkpoints):
            step = f"{checkpoint_step(checkpoint):,}"
            command = f"{command} --resume"
            logger.warning(Warnings.W302.format(step=step, command=command))
        else:
            self.work.keep = has_features(self.features)

    def _check_config(self, config: Config) -> None:
        with self.explaining_damage():
            before = Config().from_disk(self.path / CONFIG_FILE)
            changed = _list_changes(before, config)
        if changed:
            raise NunerError(Errors.N312, path=self.path, changed=", ".join(changed))

    def _check_inputs(self, before: str, now: str) -> None:
        with self.explaining_damage():
            was, found = json.loads(before), json.loads(now)
            names = {
                "corpus": "the files of paths.corpus",
                "base": "those of paths.base",
            }
            changed = [
                name
                for key, name in names.items()
                if key in was and was[key] != found[key]
            ]
        if changed:
            raise NunerError(Errors.N312, path=self.path, changed=", ".join(changed))


def _list_changes(before: Mapping[str, Any], config: Config) -> list[str]:
    """The settings, but for those of `FREE`, in which a config differs from another."""
    # Settings that the release before did not have were as their defaults are.
    before = complete_config(before)
    return [
        f"{section}.{key}"
        for section in sorted(config)
        for key in sorted({*before[section], *config[section]})
        if before[section].get(key) != config[section].get(key) and key not in FREE
    ]


def _hash_shards(corpus: Path) -> dict[str, str]:
    return {shard.name: hash_file(shard) for shard in find_shards(corpus)}


def _list_inputs(settings: Settings) -> list[Path | str]:
    paths, evaluation = settings.paths, settings.evaluation
    probe = (evaluation.probe_train, evaluation.probe_dev)
    return [paths.corpus, paths.base, *(one for one in probe if one is not None)]


def _describe_inputs(
    settings: Settings, model: ContrastiveModel, base_sha256: str
) -> str:
    """Describe what the features are made from.

    Not by names alone: under the name of a corpus or an encoder may be another one.
    """
    inputs = {
        "version": __version__,
        "corpus": _hash_shards(settings.paths.corpus),
        "base": base_sha256,
        "frozen_layers": model.frozen_layers,
        "template": settings.model.template,
        **settings.features.model_dump(),
    }
    return json.dumps(inputs, sort_keys=True)


def _check_space(folder: Path, model: ContrastiveModel, *, checkpoints: int) -> None:
    """Make sure before the training that its result will fit on the disk."""
    needed = space_needed(model, checkpoints=checkpoints)
    there = sum(path.stat().st_size for path in folder.glob("checkpoints/*/*"))
    free = shutil.disk_usage(folder).free
    if free < needed - there:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free",
        )


def space_needed(model: ContrastiveModel, *, checkpoints: int) -> int:
    """Compute the most that a run takes on the disk, besides its features.

    model (ContrastiveModel): What is trained.
    checkpoints (int): How many checkpoints there are at once.
    RETURNS (int): Bytes.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    # AdamW keeps two numbers for each weight that is trained.
    moments = sum(8 * p.numel() for p in model.parameters() if p.requires_grad)
    return weights + checkpoints * (weights + moments)


def most_held(arguments: TrainingArguments) -> int:
    """Compute how many checkpoints there are at once.

    arguments (TrainingArguments): Those of the run.
    RETURNS (int): What is kept, and one while the oldest is not yet deleted.
    """
    return (arguments.save_total_limit or 0) + 1


def _describe_run(
    run: Run, config: Config, *, training: dict[str, Any], command: str
) -> BackboneInfo:
    settings, model = run.settings, run.model
    # As it was: another release may choose another one.
    rate = {**config["training"], "learn_rate": run.arguments.learning_rate}
    return BackboneInfo(
        format=FORMAT,
        pooling=POOLING,
        template=settings.model.template,
        max_concept_length=settings.features.max_concept_length,
        scale=model.similarity.scale.item(),
        bias=model.similarity.bias.item(),
        frozen_layers=model.frozen_layers,
        hidden_layers=model.hidden_layers,
        base=settings.paths.base,
        data=run.data,
        training=training,
        versions={
            "spacy_nuner": __version__,
            **{package: version(package) for package in PACKAGES},
        },
        settings={**config, "training": rate},
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
