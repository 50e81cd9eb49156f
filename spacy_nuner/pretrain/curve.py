"""The figure of a run: loss, average precision and probe against steps."""

from pathlib import Path
from typing import Any

from ..corpus.drawing import BLUE, GREEN, GREY, ORANGE, draw

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
