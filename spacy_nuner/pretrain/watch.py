"""Looks at a backbone in training: how good it is, and which one to keep."""

import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_model, save_model
from torch import nn
from tqdm import tqdm
from transformers.trainer import Trainer
from transformers.trainer_callback import TrainerCallback

from ..encoder import encoder_layers
from ..errors import message
from ..files import replacing
from .backbone import layers_to_read
from .contrast import ContrastiveModel
from .features import Features
from .history import AVERAGE_PRECISION, MEASURES, PREFIX, PROBE, Row
from .settings import WatchSettings
from .validation import Validation

WEIGHTS_FILE = "model.safetensors"
LOOK_FILE = "look.json"

logger = logging.getLogger("spacy_nuner")

Measure = Callable[[ContrastiveModel], dict[str, float]]


class Probe(Protocol):
    """Tells how well entities can be read off an encoder."""

    def __call__(
        self, tokenizer: Any, encoder: nn.Module, hidden_layers: list[int]
    ) -> dict[str, float]:
        """Probe an encoder and leave it as it is.

        tokenizer (PreTrainedTokenizerFast): Its tokenizer.
        encoder (nn.Module): The encoder, in evaluation mode.
        hidden_layers (list[int]): The layers to read, -1 being the last.
        RETURNS (dict[str, float]): "probe_token_f" and others of `MEASURES`.
        """


def watch_run(
    trainer: Trainer,
    settings: WatchSettings,
    held_out: Features,
    probe: Probe | None,
    *,
    best: Path,
) -> None:
    """Have a run looked at, if there is anything to see.

    trainer (Trainer): Runs a `ContrastiveModel`.
    settings (WatchSettings): When to look.
    held_out (Features): What training does not see.
    probe (Probe | None): What is measured on a labelled set.
    best (Path): Folder for the weights of the best look.
    """
    if not settings.every_steps:
        return
    if trainer.is_fsdp_enabled:
        # No process has all the weights.
        logger.warning(message("W306"))
        return
    measures: list[Measure] = []
    if settings.validation_share:
        if len(held_out.texts):
            model: Any = trainer.model
            validation = Validation(held_out, model.concept_encoder.tokenizer)
            measures.append(lambda model: {AVERAGE_PRECISION: validation(model)})
        else:
            share = settings.validation_share
            logger.warning(message("W305", share=share))
    if probe is not None:
        measures.append(lambda model: _probe_model(probe, model))
    if measures:
        every, kept = settings.every_steps, best if settings.keep_best else None
        trainer.add_callback(Watch(measures, trainer.log, every=every, best=kept))


def _probe_model(probe: Probe, model: ContrastiveModel) -> dict[str, float]:
    encoder = model.text_encoder
    layers = layers_to_read(len(encoder_layers(encoder)), model.frozen_layers)
    return probe(model.concept_encoder.tokenizer, encoder, layers)


class Watch(TrainerCallback):
    """Measures a backbone before the first step, every n steps and after the last.

    Nothing here draws random numbers, so a run is the same with and without it.
    """

    def __init__(
        self,
        measures: Sequence[Measure],
        log: Callable[[dict[str, float]], None],
        *,
        every: int,
        best: Path | None,
    ) -> None:
        """measures (Sequence[Measure]): Each takes the model and gives some values.

        log (Callable): Takes the values with `PREFIX`: that of the Trainer.
        every (int): Steps between two looks.
        best (Path | None): Folder for the weights of the look with the best probe;
            None: they are not kept.
        """
        self.measures = measures
        self.log = log
        self.every = every
        self.best = best

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Look at the base encoder, unless the run is one that goes on."""
        if state.global_step == 0:
            if self.best is not None:
                # Of a run that was killed before its first checkpoint.
                shutil.rmtree(self.best, ignore_errors=True)
            self._look(state, control, model)

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Look if it is time to."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self._look(state, control, model)

    def _look(self, state: Any, control: Any, model: ContrastiveModel) -> None:
        if not state.is_world_process_zero:
            return
        started = time.monotonic()
        model.eval()
        values = {k: v for measure in self.measures for k, v in measure(model).items()}
        model.train()
        values["seconds"] = round(time.monotonic() - started, 2)
        # To log takes back the wish to log, that of this step's loss too.
        wanted = control.should_log
        self.log({f"{PREFIX}{key}": value for key, value in values.items()})
        control.should_log = wanted
        told = ", ".join(
            f"{name} {100 * values[key]:.1f}"
            for key, name in MEASURES.items()
            if key in values
        )
        tqdm.write(f"step {state.global_step:,}: {told}", file=sys.stderr)
        # What stands at step 0 is the base encoder; nobody trains to get that.
        if self.best is not None and state.global_step > 0:
            self._keep(self.best, state.global_step, values, model)

    def _keep(
        self, place: Path, step: int, values: dict[str, float], model: nn.Module
    ) -> None:
        # What is on the disk counts, not what was seen: a resumed run may go once more
        # through steps that were written already.
        best = read_look(place)
        if best and best[PROBE] >= values[PROBE]:
            return
        with replacing(place, marker=LOOK_FILE) as folder:
            save_model(model, str(folder / WEIGHTS_FILE))
            text = json.dumps({"step": step, **values})
            (folder / LOOK_FILE).write_text(text, encoding="utf8")


def read_look(place: Path) -> dict[str, Any]:
    """Tell which look was kept.

    place (Path): The folder.
    RETURNS (dict[str, Any]): "step" and what was measured; empty if none was kept.
    """
    path = place / LOOK_FILE
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else {}


def take_best(place: Path, model: nn.Module, rows: list[Row]) -> int:
    """Give a model the weights of the look with the best probe.

    place (Path): The folder that they were kept in.
    model (nn.Module): The model; changed in place.
    rows (list[Row]): What was measured, as `read_history` gives it.
    RETURNS (int): The step that they are of.
    """
    look = read_look(place)
    load_model(model, str(place / WEIGHTS_FILE))
    base = next(row[PROBE] for row in rows if PROBE in row)
    if look[PROBE] <= base:
        facts = {"found": f"{100 * look[PROBE]:.1f}", "base": f"{100 * base:.1f}"}
        logger.warning(message("W304", step=look["step"], **facts))
    return int(look["step"])
