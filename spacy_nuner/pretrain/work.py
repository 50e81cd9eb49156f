"""The folder beside the output that holds a run's features and checkpoints."""

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thinc.api import Config
from transformers.trainer_utils import get_last_checkpoint

from ..about import __version__
from ..corpus.docbin import find_shards
from ..encoder import hash_weights
from ..errors import NunerError, message
from ..files import RUN_FILE, hash_file, resuming
from .backbone import INFO_FILE
from .checkpoints import UNFINISHED
from .contrast import ContrastiveModel
from .encoders import ConceptEncoder
from .features import Features, build_features, count_parts
from .settings import Settings
from .states import fit_on_disk, keep_states, states_size

CONFIG_FILE = "config.cfg"
# Stands for the dtype of the states of the frozen layers.
NOT_KEPT = "none"
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
        self.states = self.path / "states"
        self.states_dtype = self.path / "states-dtype"
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
            raise NunerError("N311", path=self.path)
        # A run that goes on is the one that it was, under a later release too.
        run_file = self.path / RUN_FILE
        run = run_file.read_text("utf8") if resume else _run(settings, model)
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

    def keep_states(
        self, settings: Settings, model: ContrastiveModel, *, bf16: bool
    ) -> None:
        """Compute what the frozen layers give, unless an earlier start has done so.

        settings (Settings): The config.
        model (ContrastiveModel): In evaluation mode, on the device to compute on.
        bf16 (bool): Whether to compute and keep it in bf16; else in fp32.
        RAISES (NunerError): N316 if it is asked for and the encoder can't be split.
        """
        wanted = settings.training.keep_frozen_states
        if not wanted or not model.frozen_layers:
            # Those of an earlier start that wanted them.
            self.states_dtype.unlink(missing_ok=True)
            shutil.rmtree(self.states, ignore_errors=True)
            return
        dtype = "bfloat16" if bf16 else "float32"
        # The disk may have other room when the run is resumed; it goes on as it was.
        if self.states_dtype.exists() and (
            self.states_dtype.read_text() in (dtype, NOT_KEPT)
        ):
            return
        features = Features.from_folder(self.features)
        keep = model.can_keep_states(features.texts[:4]["input_ids"])
        if not keep and wanted is True:
            raise NunerError("N316", found=type(model.text_encoder).__name__)
        size = states_size(features, model.width, dtype)
        keep = keep and (wanted is True or fit_on_disk(size, self.path))
        if keep:
            keep_states(features, self.states, model, dtype=dtype)
        self.states_dtype.write_text(dtype if keep else NOT_KEPT)

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
                message("W302", step=f"{step:,}", command=f"{command} --resume")
            )
        elif not count_parts(self.features):
            shutil.rmtree(self.path)

    def _check_config(self, config: Config) -> None:
        if not (self.path / CONFIG_FILE).exists():
            raise NunerError("N308", path=self.path)
        before = Config().from_disk(self.path / CONFIG_FILE)
        changed = [
            f"{section}.{key}"
            for section in sorted({*before, *config})
            for key in sorted({*before.get(section, {}), *config.get(section, {})})
            if before.get(section, {}).get(key) != config.get(section, {}).get(key)
            and key not in FREE
        ]
        if changed:
            raise NunerError("N312", path=self.path, changed=", ".join(changed))


def _run(settings: Settings, model: ContrastiveModel) -> str:
    """Say what features and states are made from.

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
