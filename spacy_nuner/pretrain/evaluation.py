"""How good a backbone is during training, and the figure of it."""

import json
import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers.trainer_callback import TrainerState

from ..encoders.batching import batch_by_length
from ..errors import Errors, NunerError, Warnings
from .corpus_vectors import encode_rows
from .data.features import Features
from .model import ContrastiveModel, dense_targets

# The Trainer's prefix: TensorBoard and W&B put what has it into a group of its own.
PREFIX = "eval_"
AVERAGE_PRECISION = "average_precision"
PROBE = "probe_token_f"
MEASURES = {
    AVERAGE_PRECISION: "average precision",
    PROBE: "probe's token F1",
    "probe_ents_f": "entity F1",
}
METRICS_FILE = "metrics.jsonl"
FIGURE = "curve"
HASHES = 2**32
# Rows that are measured at most: of a million texts 2% would take as long as training,
# at one evaluation every hundred steps, and gigabytes for their pairs.
MOST_MEASURED = 2000
# Word pieces of a batch. Average precision depends on how many concepts are in one, so
# this is no setting: runs can be compared.
BATCH_PIECES = 2048

# What was measured at a step: "step" and any of "loss", "learning_rate", `MEASURES`.
Metrics = dict[str, Any]
logger = logging.getLogger("spacy_nuner")


class Probe(Protocol):
    """Measures how well entities can be read off an encoder."""

    def __call__(
        self, tokenizer: Any, encoder: nn.Module, hidden_layers: list[int]
    ) -> dict[str, float]:
        """Probe an encoder and leave it as it is.

        tokenizer (PreTrainedTokenizerFast): Its tokenizer.
        encoder (nn.Module): The encoder, in evaluation mode.
        hidden_layers (list[int]): The layers to read, -1 being the last.
        RETURNS (dict[str, float]): "probe_token_f" and others of `MEASURES`.
        """


def evaluate(
    model: ContrastiveModel, held_out: Features, probe: Probe | None
) -> dict[str, float]:
    """Measure a backbone; draws no random numbers, so training goes on as without.

    model (ContrastiveModel): The model; switched to evaluation.
    held_out (Features): Texts that training does not see; none are measured if empty.
    probe (Probe | None): What is measured on a labelled set.
    RETURNS (dict[str, float]): Some of `MEASURES`, from 0 to 1.
    """
    model.eval()
    metrics = {}
    if len(held_out.texts):
        metrics[AVERAGE_PRECISION] = average_precision(model, held_out)
    if probe is not None:
        tokenizer = model.concept_encoder.tokenizer
        metrics |= probe(tokenizer, model.text_encoder, model.hidden_layers)
    return metrics


def hold_out(features: Features, share: float) -> tuple[Features, Features]:
    """Split the rows of a corpus in two, by a hash of the text that each is of.

    So a sentence that comes twice, and the parts of a long text, are on one side; and
    a sentence that is held out once is held out of every run with the same share,
    whatever else is in the corpus.

    features (Features): The corpus.
    share (float): Share of the texts that is held out.
    RETURNS (tuple[Features, Features]): What is left for training; of what is held out
        `MOST_MEASURED` rows at most.
    RAISES (NunerError): N315 if nothing is left for training.
    """
    hashes = features.texts.data.column("text_hash").to_numpy()
    held_out = hashes < share * HASHES
    if held_out.all():
        raise NunerError(Errors.N315, share=share, count=len(hashes))
    if share and not held_out.any():
        logger.warning(Warnings.W305.format(share=share))
    measured = np.flatnonzero(held_out)
    if len(measured) > MOST_MEASURED:
        # The same ones in every run, as far as it has them.
        order = np.argsort(hashes[measured], kind="stable")
        measured = np.sort(measured[order[:MOST_MEASURED]])
    train, validation = (
        Features(features.texts.select(rows), features.concepts)
        for rows in (np.flatnonzero(~held_out), measured)
    )
    return train, validation


@torch.no_grad()
def average_precision(model: ContrastiveModel, features: Features) -> float:
    """Score every pair of a word piece and a concept of its batch.

    Half the concepts are given with their description, always the same half.

    model (ContrastiveModel): The model; switched to evaluation.
    features (Features): Texts that training does not see.
    RETURNS (float): Area under the curve of precision over recall, all pairs of all
        batches in one ranking. From 0 to 1; scores by chance have the share of pairs
        that belong together.
    RAISES (NunerError): N006 if scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import average_precision_score
    except ImportError as error:
        raise NunerError(
            Errors.N006, package="scikit-learn", extra="pretrain"
        ) from error
    batches = batch_by_length(features.texts["length"][:], max_size=BATCH_PIECES)
    scores, gold = [], []
    for pieces, concepts, positives in encode_rows(
        model, features, batches, description_dropout=0.5
    ):
        logits = model.similarity(pieces, concepts)
        targets = dense_targets(positives, *logits.shape)
        scores.append(logits.flatten().float().cpu().numpy())
        gold.append(targets.flatten().cpu().numpy())
    return float(average_precision_score(np.concatenate(gold), np.concatenate(scores)))


def read_history(state: TrainerState) -> list[Metrics]:
    """Take losses and evaluations out of the Trainer's log.

    state (TrainerState): The state of the Trainer.
    RETURNS (list[Metrics]): One for each step at which something was measured. "loss"
        is the mean since the one before it.
    """
    steps: dict[int, Metrics] = {}
    log: list[dict[str, Any]] = state.log_history
    for entry in log:
        values = {
            key.removeprefix(PREFIX): value
            for key, value in entry.items()
            if key in ("loss", "learning_rate") or key.startswith(PREFIX)
        }
        if values:
            steps.setdefault(entry["step"], {"step": entry["step"]}).update(values)
    return [steps[step] for step in sorted(steps)]


def describe_evaluation(history: list[Metrics], step: int) -> dict[str, float]:
    """Sum up the evaluations for `nuner.json`; warn if the base encoder was better.

    history (list[Metrics]): As `read_history` gives it.
    step (int): The step whose weights became the backbone.
    RETURNS (dict[str, float]): Each measure there, and before the first step with
        "_of_base" behind its name.
    """
    by_step = {row["step"]: row for row in history}
    found, base = by_step.get(step, {}), by_step.get(0, {})
    if PROBE in found and found[PROBE] <= base.get(PROBE, -1):
        percent = {
            "found": f"{100 * found[PROBE]:.1f}",
            "base": f"{100 * base[PROBE]:.1f}",
        }
        logger.warning(Warnings.W304.format(step=step, **percent))
    return {
        f"{key}{suffix}": round(row[key], 4)
        for key in MEASURES
        for row, suffix in ((found, ""), (base, "_of_base"))
        if key in row
    }


def write_history(folder: Path, history: list[Metrics], step: int) -> None:
    """Write what was measured: metrics.jsonl, curve.png and curve.svg.

    folder (Path): Where they go.
    history (list[Metrics]): As `read_history` gives it.
    step (int): The step whose weights became the backbone.
    """
    text = "".join(json.dumps(row) + "\n" for row in history)
    (folder / METRICS_FILE).write_text(text, encoding="utf8")
    if not history:
        # Shorter than `training.log_steps`.
        return
    try:
        _draw_curve(folder / FIGURE, history, step)
    except NunerError as error:
        # Without matplotlib there is no figure; the run was not for nothing.
        logger.warning(Warnings.W303.format(reason=error))


def _draw_curve(path: Path, history: list[Metrics], step: int) -> None:
    """Draw a panel for each measure; a line marks the step if it is not the last."""
    from ..plotting import BLUE, GREEN, GREY, ORANGE, annotate, new_figure

    # Key, title, factor and colour of each panel.
    known = (
        ("loss", "Loss", 1, GREEN),
        (AVERAGE_PRECISION, "Average precision, held out (%)", 100, BLUE),
        (PROBE, "Frozen probe, token F1 (%)", 100, ORANGE),
    )
    panels = [panel for panel in known if any(panel[0] in row for row in history)]
    last = max(row["step"] for row in history)
    size = (0.3 + 3.2 * len(panels), 2.7)
    with new_figure(path, size, transparent=True) as figure:
        axes = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
        for axis, (key, title, factor, colour) in zip(axes, panels, strict=True):
            rows = [row for row in history if key in row]
            steps, values = [[row[k] for row in rows] for k in ("step", key)]
            values = [factor * value for value in values]
            # Evaluations are few, and each is a measurement; the line between is none.
            marker = None if key == "loss" else "o"
            axis.plot(
                steps, values, color=colour, marker=marker, markersize=4, linewidth=1.5
            )
            axis.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.8)
            axis.set_title(title)
            axis.margins(x=0.04)
            style: dict[str, Any] = {"color": GREY}
            if key != "loss":
                # What lies above the line was won by training.
                axis.axhline(values[0], color=GREY, linewidth=1, linestyle="--")
                style["xycoords"] = ("axes fraction", "data")
                annotate(
                    axis, "base encoder", (1, values[0]), (0, 3), ha="right", **style
                )
            if step < last:
                axis.axvline(step, color=GREY, linewidth=1, linestyle=":")
                left = step > last / 2
                style |= {"xycoords": ("data", "axes fraction"), "va": "top"}
                offset, side = ((-3, -2), "right") if left else ((3, -2), "left")
                annotate(axis, "best", (step, 1), offset, ha=side, **style)
        figure.supxlabel("step", fontsize=10)
