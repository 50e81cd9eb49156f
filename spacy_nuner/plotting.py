"""A figure as PNG, and as SVG for a page that may be light or dark."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Errors, NunerError

# Stands for black; in the SVG it becomes the colour of the text around the figure.
INK = "#1b1e23"
GREY = "#808080"
# Okabe and Ito's colours, as in the other figures; told apart by colour-blind readers.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "spacy_nuner",
    # Letters as shapes: the widths that the layout counts on hold everywhere.
    "svg.fonttype": "path",
}
# Without a date or a version the same corpus gives the same files.
PNG_METADATA = {"Software": None}
SVG_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass
class Drawing:
    """A figure as it goes into the page.

    name (str): Its file name without suffix.
    title (str): What it shows.
    caption (str): How to read it.
    svg (str): The `<svg>` element.
    """

    name: str
    title: str
    caption: str
    svg: str


def draw(
    folder: Path,
    name: str,
    title: str,
    caption: str,
    size: tuple[float, float],
    paint: Callable[[Any], None],
) -> Drawing:
    """Make a figure and write its PNG.

    folder (Path): Where the PNG goes.
    name (str): Its name without suffix.
    title (str): What it shows.
    caption (str): How to read it.
    size (tuple[float, float]): Width and height in inches.
    paint (Callable[[Any], None]): Draws into the matplotlib figure.
    RETURNS (Drawing): The figure for the page.
    RAISES (NunerError): N006 if matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NunerError(Errors.N006, package="matplotlib", extra="fewshot") from error
    # A Figure without pyplot draws on Agg and opens no window.
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=150, facecolor="white", metadata=PNG_METADATA)
        path = folder / f"{name}.svg"
        figure.savefig(path, transparent=True, metadata=SVG_METADATA)
    svg = path.read_text(encoding="utf8")
    path.unlink()
    return Drawing(name, title, caption, _for_page(svg, name, title))


def _for_page(svg: str, name: str, title: str) -> str:
    """The element alone, in the colour of the text, with ids that are its own."""
    svg = svg[svg.index("<svg") :]
    svg = svg.replace(INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href=")#', rf"\1#{name}-", svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Its width follows the page.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
