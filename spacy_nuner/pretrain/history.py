"""What was measured in a run, from the Trainer's log to files beside the backbone."""

import json
import logging
from pathlib import Path
from typing import Any

from ..errors import NunerError, message
from .curve import draw_curve

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
        logger.warning(message("W303", reason=error))
