"""Pre-training from a config to a backbone folder."""

import contextlib
import copy
import errno
import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from thinc.api import Config
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint, set_seed

from ..about import __version__
from ..encoders.concept_encoder import ConceptEncoder
from ..encoders.folder import (
    FORMAT,
    INFO_FILE,
    BackboneInfo,
    layers_to_read,
    save_backbone,
)
from ..encoders.layers import (
    encoder_layers,
    hash_weights,
    load_encoder,
    max_pieces,
    set_dropout,
)
from ..errors import Errors, NunerError, Warnings
from ..files import RUN_FILE, hash_file, resuming
from ..readers.docbin import find_shards
from .corpus_vectors import fit_scale, sample_background
from .data.features import Features, build_features, count_parts
from .evaluation import (
    Probe,
    describe_looks,
    hold_out,
    read_history,
    take_best,
    watch_run,
    write_history,
)
from .model import ContrastiveModel, Similarity, is_together, part_ways
from .settings import Settings, resolve_settings
from .trainer import UNFINISHED, PretrainTrainer, training_arguments

CONFIG_FILE = "config.cfg"
# Settings that may differ in a run that goes on: none of them changes what is learned,
# but the precision, which a loss that is no number may ask for.
FREE = {"save_steps", "save_minutes", "report_to", "precision"}

logger = logging.getLogger("spacy_nuner")


class WorkFolder:
    """Lives as long as the run; stays behind if there is something to go on with."""

    def __init__(self, output: Path) -> None:
        """output (Path): The backbone folder that the run makes."""
        self.output = output
        self.path = output.with_name(f"{output.name}.work")
        self.features = self.path / "features"
        self.checkpoints = self.path / "checkpoints"
        self.data = self.path / "data.json"
        self.best = self.path / "best"

    @contextlib.contextmanager
    def opened(
        self,
        config: Config,
        settings: Settings,
        model: ContrastiveModel,
        *,
        resume: bool,
        command: str,
    ) -> Iterator[Path]:
        """Make the folder, or check that it is the one to go on with.

        config (Config): The config of the run.
        settings (Settings): The same, resolved.
        model (ContrastiveModel): What is to be trained, as it starts.
        resume (bool): Whether to go on from a checkpoint.
        command (str): What started the run, told if it breaks off.
        YIELDS (Path): Where to write the backbone, which is put in its place when the
            block ends well.
        RAISES (NunerError): N003 or N004 if the output can't be written there, N308 if
            there is no run to go on with, N311 if there is one and it is not asked
            for, N312 if it was made under another config.
        """
        if resume:
            self._check_config(config)
        elif self.last_checkpoint():
            raise NunerError(Errors.N311, path=self.path)
        # A run that goes on is the one that it was, under a later release too.
        run_file = self.path / RUN_FILE
        run = (
            run_file.read_text("utf8")
            if resume
            else _describe_run_file(settings, model)
        )
        with resuming(self.output, marker=INFO_FILE, run=run) as work:
            config.to_disk(work / CONFIG_FILE)
            shutil.rmtree(self.checkpoints / UNFINISHED, ignore_errors=True)
            try:
                yield work / self.output.name
            except BaseException:
                self._leave(command)
                raise

    def build_features(
        self, settings: Settings, encoder: ConceptEncoder, *, n_process: int
    ) -> None:
        """Turn the corpus into Arrow files, unless an earlier start has done so.

        settings (Settings): The config.
        encoder (ConceptEncoder): Gives the tokenizer and the form of concepts.
        n_process (int): How many processes to use.
        """
        if self.data.exists():
            return
        data = build_features(
            settings.paths.corpus,
            self.features,
            concept_encoder=encoder,
            max_length=settings.features.max_length,
            n_process=n_process,
        )
        beside = self.data.with_suffix(".tmp")
        beside.write_text(json.dumps(data), encoding="utf8")
        beside.replace(self.data)

    def read_data(self) -> dict[str, Any]:
        """Read what was counted when the features were made.

        RETURNS (dict[str, Any]): Counts and hashes of the corpus.
        """
        return json.loads(self.data.read_text(encoding="utf8"))

    def last_checkpoint(self) -> str | None:
        """Find the checkpoint to go on from.

        RETURNS (str | None): Its folder, None if there is none.
        """
        if not self.checkpoints.is_dir():
            return None
        return get_last_checkpoint(str(self.checkpoints))

    def _leave(self, command: str) -> None:
        if checkpoint := self.last_checkpoint():
            step = int(checkpoint.rpartition("-")[2])
            logger.warning(
                Warnings.W302.format(step=f"{step:,}", command=f"{command} --resume")
            )
        elif not count_parts(self.features):
            shutil.rmtree(self.path)

    def _check_config(self, config: Config) -> None:
        if not (self.path / CONFIG_FILE).exists():
            raise NunerError(Errors.N308, path=self.path)
        before = Config().from_disk(self.path / CONFIG_FILE)
        changed = [
            f"{section}.{key}"
            for section in sorted({*before, *config})
            for key in sorted({*before.get(section, {}), *config.get(section, {})})
            if before.get(section, {}).get(key) != config.get(section, {}).get(key)
            and key not in FREE
        ]
        if changed:
            raise NunerError(Errors.N312, path=self.path, changed=", ".join(changed))


def _describe_run_file(settings: Settings, model: ContrastiveModel) -> str:
    """Say what the features are made from.

    Not by names alone: a corpus or an encoder may be another one in the same place.
    """
    shards = find_shards(settings.paths.corpus)
    parts = {
        "version": __version__,
        "corpus": {shard.name: hash_file(shard) for shard in shards},
        "base": hash_weights(model.text_encoder),
        "frozen_layers": model.frozen_layers,
        "template": settings.model.template,
        **settings.features.model_dump(),
    }
    return json.dumps(parts, sort_keys=True)


PACKAGES = ("torch", "transformers", "datasets", "accelerate", "spacy")


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

    config (Config): As `read_config` gives it.
    output (Path): The backbone folder to make; one made earlier is replaced.
    gpu_id (int): The GPU to use, -1 for the processor. Under torchrun each process
        takes the one of its rank.
    resume (bool): Whether to go on from the last checkpoint of a run that broke off.
    n_process (int): How many processes make the features.
    command (str): The command line, for the record and for the advice on how to go on.
    callbacks (Sequence[TrainerCallback]): Told of each step. One that draws random
        numbers has a generator of its own, or a resumed run is not the same run.
    probe (Probe | None): What is measured on a labelled set at every look.
    RETURNS (BackboneInfo | None): What went into `nuner.json`; None in the processes
        of a distributed run that are not the first.
    RAISES (NunerError): For settings, places, encoders and corpora that can't be used;
        N309 if the loss is no longer a number.
    """
    # A group that the caller made is the caller's to leave.
    together = is_together()
    info = _run(
        config,
        output,
        gpu_id=gpu_id,
        resume=resume,
        n_process=n_process,
        command=command,
        callbacks=callbacks,
        probe=probe,
    )
    # Only now that the trainer is gone, and not after an error, which holds on to it.
    if not together:
        part_ways()
    return info


def _run(
    config: Config,
    output: Path,
    *,
    gpu_id: int,
    resume: bool,
    n_process: int,
    command: str,
    callbacks: Sequence[TrainerCallback],
    probe: Probe | None,
) -> BackboneInfo | None:
    settings = resolve_settings(config)
    find_shards(settings.paths.corpus)
    work = WorkFolder(output)
    arguments = training_arguments(settings.training, work.checkpoints, gpu_id=gpu_id)
    first = arguments.process_index == 0
    with contextlib.ExitStack() as stack:
        set_seed(settings.training.seed)
        model = build_model(settings, on_cpu=arguments.device.type == "cpu")
        if first:
            target = stack.enter_context(
                work.opened(config, settings, model, resume=resume, command=command)
            )
            check_space(work.path, model, checkpoints=_checkpoints(settings, resume))
        with arguments.main_process_first(local=False):
            if first:
                work.build_features(
                    settings, model.concept_encoder, n_process=n_process
                )
        corpus = Features.from_folder(work.features)
        features, held_out = hold_out(corpus, settings.watch.validation_share)
        if settings.model.initial_scale is None:
            model.to(arguments.device)
            model.similarity.scale.data.fill_(fit_scale(model, features))
        trainer = PretrainTrainer(
            model=model,
            args=arguments,
            features=features,
            settings=settings,
            callbacks=list(callbacks),
        )
        watch_run(trainer, settings.watch, held_out, probe, best=work.best)
        started = time.monotonic()
        trainer.train(resume_from_checkpoint=work.last_checkpoint() if resume else None)
        if not first:
            return None
        history = read_history(trainer.state.log_history)
        kept = trainer.state.global_step
        if settings.watch.keep_best:
            kept = take_best(work.best, model, history)
        info = describe_run(settings, config, model, command=command)
        info.data.update(work.read_data())
        info.training.update(
            steps=trainer.state.global_step,
            seconds=round(time.monotonic() - started),
            final_loss=trainer.last_loss(),
            kept_step=kept,
            **describe_looks(history, kept),
        )
        save_backbone(
            target,
            info,
            text_encoder=model.text_encoder,
            concept_encoder=model.concept_encoder.encoder,
            tokenizer=model.concept_encoder.tokenizer,
            background=sample_background(model, corpus, seed=settings.training.seed),
        )
        write_history(target, history, kept)
    return info


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
    second = copy.deepcopy(text_encoder)
    limit = max_pieces(tokenizer, text_encoder)
    for key in ("max_length", "max_concept_length"):
        found = getattr(settings.features, key)
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
    return ContrastiveModel(
        text_encoder,
        ConceptEncoder(
            second,
            tokenizer,
            pooling=settings.model.pooling,
            template=settings.model.template,
            max_length=settings.features.max_concept_length,
        ),
        Similarity(
            scale=settings.model.initial_scale or 1.0,
            bias=settings.model.initial_bias,
        ),
        settings.objective,
        frozen_layers=frozen,
    )


def check_space(place: Path, model: ContrastiveModel, *, checkpoints: int) -> None:
    """Make sure before the long work that its result will fit on the disk.

    place (Path): The folder that everything goes into.
    model (ContrastiveModel): Both encoders.
    checkpoints (int): How many checkpoints are still to find room beside one another.
    RAISES (OSError): If there is too little space.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    # AdamW keeps two numbers for each weight that is trained.
    moments = sum(8 * p.numel() for p in model.parameters() if p.requires_grad)
    needed = weights + checkpoints * (weights + moments)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free",
        )


def _checkpoints(settings: Settings, resume: bool) -> int:
    """A new checkpoint is written before the one that stands is deleted."""
    if not settings.training.save_steps and not settings.training.save_minutes:
        return 0
    return 1 if resume else 2


def describe_run(
    settings: Settings, config: Config, model: ContrastiveModel, *, command: str
) -> BackboneInfo:
    """Write down what is known of a backbone apart from its data and its training.

    settings (Settings): The config, resolved.
    config (Config): The config as it was read.
    model (ContrastiveModel): The trained model.
    command (str): The command line.
    RETURNS (BackboneInfo): With empty `data` and `training`.
    """
    layers = len(encoder_layers(model.text_encoder))
    return BackboneInfo(
        format=FORMAT,
        pooling=settings.model.pooling,
        template=settings.model.template,
        max_concept_length=settings.features.max_concept_length,
        scale=model.similarity.scale.item(),
        bias=model.similarity.bias.item(),
        frozen_layers=model.frozen_layers,
        hidden_layers=layers_to_read(layers, model.frozen_layers),
        base=settings.paths.base,
        data={},
        training={},
        versions={
            "spacy_nuner": __version__,
            **{package: version(package) for package in PACKAGES},
        },
        settings=dict(config),
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
