"""Looks at a backbone in training: how good it is, and which one to keep."""

import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from tqdm import tqdm
from transformers.trainer import Trainer
from transformers.trainer_callback import TrainerCallback

from ..encoders.folder import layers_to_read
from ..encoders.layers import encoder_layers
from ..errors import Errors, NunerError, Warnings
from ..files import replacing
from ..plotting import BLUE, GREEN, GREY, ORANGE, draw
from .data.batches import Collator
from .data.features import Features
from .model import ContrastiveModel, dense_targets
from .settings import WatchSettings

NAME = "curve"
# Key, title, factor and colour of each panel.
PANELS = (
    ("loss", "Loss", 1, GREEN),
    ("average_precision", "Average precision, held out (%)", 100, BLUE),
    ("probe_token_f", "Frozen probe, token F1 (%)", 100, ORANGE),
)
WIDTH, HEIGHT = 3.2, 2.7


def draw_curve(folder: Path, rows: list[dict[str, Any]], kept: int) -> None:
    """Draw a panel for each thing that was measured; curve.png and curve.svg.

    folder (Path): Where they go.
    rows (list[dict[str, Any]]): As `history.read_history` gives them.
    kept (int): The step whose weights became the backbone.
    RAISES (NunerError): N006 if matplotlib is not installed.
    """
    points = {
        key: [(row["step"], factor * row[key]) for row in rows if key in row]
        for key, _, factor, _ in PANELS
    }
    panels = [panel for panel in PANELS if points[panel[0]]]
    last = max(row["step"] for row in rows)

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
        for axis, (key, title, _, colour) in zip(axes, panels, strict=True):
            _paint_panel(axis, points[key], colour, base=key != "loss")
            axis.set_title(title)
            axis.margins(x=0.04)
            if kept < last:
                _mark_kept(axis, kept, last)
        figure.supxlabel("step", fontsize=10)

    size = (0.3 + WIDTH * len(panels), HEIGHT)
    drawing = draw(folder, NAME, "Pre-training", "", size, paint)
    (folder / f"{NAME}.svg").write_text(drawing.svg, encoding="utf8")


def _paint_panel(
    axis: Any, points: list[tuple[int, float]], colour: str, *, base: bool
) -> None:
    steps, values = zip(*points, strict=True)
    # Looks are few, and each is a measurement; the line between them is none.
    marker = "o" if base else None
    axis.plot(steps, values, color=colour, marker=marker, markersize=4, linewidth=1.5)
    axis.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.8)
    if base:
        # What lies above the line was won by training.
        axis.axhline(values[0], color=GREY, linewidth=1, linestyle="--")
        axis.annotate(
            "base encoder",
            (1, values[0]),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            horizontalalignment="right",
            color=GREY,
            fontsize=9,
        )


def _mark_kept(axis: Any, kept: int, last: int) -> None:
    left = kept > last / 2
    axis.axvline(kept, color=GREY, linewidth=1, linestyle=":")
    axis.annotate(
        "kept",
        (kept, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if left else 3, -2),
        textcoords="offset points",
        horizontalalignment="right" if left else "left",
        verticalalignment="top",
        color=GREY,
        fontsize=9,
    )


# Looks stand in the log with this prefix: TensorBoard and W&B put what has it into a
# group of its own.
PREFIX = "eval_"
AVERAGE_PRECISION = "average_precision"
PROBE = "probe_token_f"
MEASURES = {
    AVERAGE_PRECISION: "average precision",
    PROBE: "probe's token F1",
    "probe_ents_f": "entity F1",
}
METRICS_FILE = "metrics.jsonl"

Row = dict[str, Any]
logger = logging.getLogger("spacy_nuner")


def read_history(log: list[dict[str, Any]]) -> list[Row]:
    """Take losses and looks out of the Trainer's log.

    log (list[dict[str, Any]]): `trainer.state.log_history`.
    RETURNS (list[Row]): A row for each step at which there is something: "step",
        "loss" (mean since the row with a loss before it), "learning_rate", `MEASURES`,
        and the "seconds" that the look took.
    """
    rows: dict[int, Row] = {}
    for entry in log:
        values = {
            key.removeprefix(PREFIX): value
            for key, value in entry.items()
            if key in ("loss", "learning_rate") or key.startswith(PREFIX)
        }
        if values:
            rows.setdefault(entry["step"], {"step": entry["step"]}).update(values)
    return [rows[step] for step in sorted(rows)]


def describe_looks(rows: list[Row], kept: int) -> dict[str, float]:
    """Sum up the looks for `nuner.json`.

    rows (list[Row]): As `read_history` gives them.
    kept (int): The step whose weights became the backbone.
    RETURNS (dict[str, float]): Each measure there, and before the first step with
        "_of_base" behind its name.
    """
    found = {row["step"]: row for row in rows}
    return {
        f"{key}{suffix}": round(found[step][key], 4)
        for key in MEASURES
        for step, suffix in ((kept, ""), (0, "_of_base"))
        if key in found.get(step, {})
    }


def write_history(folder: Path, rows: list[Row], kept: int) -> None:
    """Write what was measured: metrics.jsonl, curve.png and curve.svg.

    folder (Path): Where they go.
    rows (list[Row]): As `read_history` gives them.
    kept (int): The step whose weights became the backbone.
    """
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / METRICS_FILE).write_text(text, encoding="utf8")
    if not rows:
        # Shorter than `training.logging_steps`.
        return
    try:
        draw_curve(folder, rows, kept)
    except NunerError as error:
        # Without matplotlib there is no figure; the run was not for nothing.
        logger.warning(Warnings.W303.format(reason=error))


HASHES = 2**32
# Word pieces of a batch. Average precision depends on how many concepts are in one, so
# this is no setting: runs can be compared.
BATCH_PIECES = 2048


def hold_out(features: Features, share: float) -> tuple[Features, Features]:
    """Split the rows of a corpus in two, by a hash of the text that each is of.

    So a sentence that comes twice, and the parts of a long text, are on one side; and
    a sentence that is held out once is held out of every run with the same share,
    whatever stands beside it in the corpus.

    features (Features): The corpus.
    share (float): Share of the texts that is held out.
    RETURNS (tuple[Features, Features]): What is left for training, what is held out.
    RAISES (NunerError): N315 if nothing is left for training.
    """
    hashes = features.texts.data.column("text_hash").to_numpy()
    held_out = hashes < share * HASHES
    if held_out.all():
        raise NunerError(Errors.N315, share=share, count=len(hashes))
    train, validation = (
        Features(features.texts.select(rows), features.concepts)
        for rows in (np.flatnonzero(~held_out), np.flatnonzero(held_out))
    )
    return train, validation


def score_pairs(
    model: ContrastiveModel, *, positives: Tensor, **batch: Any
) -> tuple[Tensor, Tensor]:
    """Compare all word pieces of a batch with its concepts.

    model (ContrastiveModel): In evaluation mode; the other arguments are those of its
        `forward`.
    RETURNS (tuple[Tensor, Tensor]): Logits, and 1 where they should be high, else 0.
        *Shape:* (pieces, concepts)
    """
    logits = model.similarity(*model.encode(**batch))
    return logits, dense_targets(positives, *logits.shape)


class Validation:
    """Average precision of word pieces and concepts on sentences held out."""

    def __init__(self, features: Features, tokenizer: Any) -> None:
        """features (Features): What training does not see.

        tokenizer (PreTrainedTokenizerFast): Knows the padding.
        RAISES (NunerError): N006 if scikit-learn is not installed.
        """
        try:
            from sklearn.metrics import average_precision_score
        except ImportError as error:
            package = {"package": "scikit-learn", "extra": "pretrain"}
            raise NunerError(Errors.N006, **package) from error
        self._average_precision = average_precision_score
        self.texts = features.texts
        lengths = np.asarray(self.texts["length"][:])
        # By length for less padding. The batches are the same at every look.
        order = np.argsort(lengths, kind="stable")
        number = np.cumsum(lengths[order], dtype="i8") // BATCH_PIECES
        borders = np.flatnonzero(np.diff(number)) + 1
        self.batches = np.split(order, borders)
        # Half the concepts with their description, always the same ones.
        self.collate = Collator(features.concepts, tokenizer, description_dropout=0.5)

    @torch.no_grad()
    def __call__(self, model: ContrastiveModel) -> float:
        """Score every pair of a word piece and a concept of its batch.

        model (ContrastiveModel): In evaluation mode.
        RETURNS (float): Area under the curve of precision over recall, all pairs of
            all batches in one ranking. From 0 to 1; scores by chance have the share
            of pairs that belong together.
        """
        device = next(model.parameters()).device
        scores, gold = [], []
        for rows in self.batches:
            batch = self.collate([self.texts[int(row)] for row in rows])
            batch = {key: value.to(device) for key, value in batch.items()}
            logits, targets = score_pairs(model, **batch)
            scores.append(logits.flatten().float().cpu().numpy())
            gold.append(targets.flatten().cpu().numpy())
        return float(
            self._average_precision(np.concatenate(gold), np.concatenate(scores))
        )


WEIGHTS_FILE = "model.safetensors"
LOOK_FILE = "look.json"


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
    measures: list[Measure] = []
    if settings.validation_share:
        if len(held_out.texts):
            model: Any = trainer.model
            validation = Validation(held_out, model.concept_encoder.tokenizer)
            measures.append(lambda model: {AVERAGE_PRECISION: validation(model)})
        else:
            share = settings.validation_share
            logger.warning(Warnings.W305.format(share=share))
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
        logger.warning(Warnings.W304.format(step=look["step"], **facts))
    return int(look["step"])
