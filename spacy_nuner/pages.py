"""Pages of one file that need nothing else, not even a network."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader


class TableCell(NamedTuple):
    """A cell of a table.

    text (str): What it says.
    number (float | None): What it is sorted by; None to sort by the text.
    """

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Chart:
    """A chart as it goes into a page.

    name (str): Its file name without suffix.
    title (str): What it shows.
    caption (str): How to read it.
    svg (str): The `<svg>` element.
    """

    name: str
    title: str
    caption: str
    svg: str


def render_page(template: str, **values: Any) -> str:
    """Fill in the template of a page.

    template (str): Its path in the package, such as "stats/page.html"; it extends
        `page.html`, which has style, and the script that sorts tables.
    **values: What it shows. Texts are escaped.
    RETURNS (str): The page.
    """
    environment = Environment(
        loader=PackageLoader("spacy_nuner", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
