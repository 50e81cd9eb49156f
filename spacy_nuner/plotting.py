"""The style of all figures, and the one module that imports matplotlib at its top.

Import it, and what imports it, inside the function that draws.
"""

import html
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import Errors, NunerError
from .files import replacing
from .printing import shorten

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError as error:
    raise NunerError(Errors.N006, package="matplotlib", extra="fewshot") from error

# In place of black; in a page it becomes the colour of the text around the figure.
INK = "#1b1e23"
GREY = "#808080"
# Okabe and Ito's colours, which colour-blind readers can tell apart.
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
    # Whatever the user's own settings say: texts are no TeX.
    "text.usetex": False,
    # Letters as shapes: the widths that the layout relies on hold everywhere.
    "svg.fonttype": "path",
}
# Without a date or a version the same data give the same files.
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
}


@contextmanager
def new_figure(
    path: Path, size: tuple[float, float], *, transparent: bool = False
) -> Iterator[Figure]:
    """Yield a figure to draw into, and write it as PNG and SVG when the block ends.

    path (Path): The files without suffix, see `get_paths`.
    size (tuple[float, float]): Width and height in inches.
    transparent (bool): Whether the SVG has no background.
    YIELDS (Figure): The figure.
    RAISES (NunerError): N003 if the files can't be written.
    """
    # A Figure without pyplot draws on Agg and opens no window.
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # An empty box stands for a letter that no font has, such as an emoji.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        for target in get_paths(path):
            with replacing(target) as temporary:
                figure.savefig(
                    temporary,
                    dpi=200,
                    metadata=METADATA[target.suffix],
                    transparent=transparent and target.suffix == ".svg",
                )


def get_paths(path: Path) -> list[Path]:
    """List the files of a figure.

    path (Path): The figure without suffix.
    RETURNS (list[Path]): The PNG and the SVG.
    """
    return [path.with_name(f"{path.name}{suffix}") for suffix in METADATA]


def literal(text: str, *, longest: int = 40) -> str:
    """Write a name out of the data so that matplotlib draws it as it is.

    text (str): A concept, a backbone, a data set: whatever a file holds.
    longest (int): Characters that are drawn.
    RETURNS (str): One line, in which no dollar begins a formula; quotes around nothing
        that could be seen.
    """
    shown = shorten(text, longest)
    if not any(one.isprintable() and not one.isspace() for one in shown):
        shown = f'"{shown}"'
    return shown.replace("$", r"\$")


def annotate(axis: Any, text: str, point: Any, offset: Any, **settings: Any) -> Any:
    """Write a text near a point of the data.

    axis (Axes): Where it goes.
    text (str): The text.
    point (tuple[float, float]): The point.
    offset (tuple[float, float]): How far from it, in typographic points.
    **settings: What else matplotlib's `annotate` takes.
    RETURNS (Annotation): The text.
    """
    settings = {"fontsize": 9, **settings}
    return axis.annotate(
        text, point, xytext=offset, textcoords="offset points", **settings
    )


def inline_svg(path: Path, title: str) -> str:
    """Turn an SVG file into an element of a page that may be light or dark.

    path (Path): The file; its stem sets the ids of its elements apart from others'.
    title (str): What the figure shows, for screen readers.
    RETURNS (str): The `<svg>` element, as wide as the page lets it be.
    """
    name, svg = path.stem, path.read_text(encoding="utf8")
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(?<=<svg)([^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(?<=<svg)([^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
