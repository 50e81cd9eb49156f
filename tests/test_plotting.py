"""Figures take any name."""

import warnings
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_nuner.fewshot.figures import draw_heads, draw_learning_curve
from spacy_nuner.fewshot.results import Cell, Curves, Point
from spacy_nuner.plotting import inline_svg, literal, new_figure
from spacy_nuner.printing import shorten
from spacy_nuner.stats.counts import CorpusStats
from spacy_nuner.stats.page import write_stats

from .conftest import weekly

cbook = pytest.importorskip("matplotlib.cbook")

NAMES = [
    r"$\frac$",
    "$x$",
    "$",
    "a $ b $ c",
    r"US\$ \\$ $\$",
    "_",
    "_nuner",
    "x^2_3",
    "\\",
    "\\textbf{",
    "100%",
    "{}",
    "{name}",
    "",
    " ",
    "\u200d",
    "\n",
    "a\nb",
    "\x1b[31m",
    "\x00",
    "\ud83d",
    "😀",
    "北京",
    "עברית",
    "\u202eabc",
    "3.5",
    "nan",
    "2024-01-01",
    "--> <!-- ]]>",
    "<script>",
    "x" * 1000,
    "e\u0301" * 50,
]


@given(st.one_of(st.text(max_size=50), st.text("$\\_^{}%\n ", max_size=50)))
def test_no_name_is_a_formula(name):
    shown = literal(name)
    assert not cbook.is_math_text(shown)
    # As matplotlib draws what is no formula.
    assert shown.replace(r"\$", "$").strip('"') == shorten(name, 40).strip('"')


def draw(path, names):
    with new_figure(path, (16, 4)) as figure:
        axis = figure.subplots()
        axis.barh(range(len(names)), 1)
        axis.set_yticks(range(len(names)), [literal(name) for name in names])
        axis.set_title(literal(names[0]))
        axis.legend(axis.patches, [literal(name) for name in names])


@settings(max_examples=8, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=6))
def test_any_text_is_drawn(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("figure") / "a"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(path, names)
    ElementTree.parse(path.with_suffix(".svg"))
    ElementTree.fromstring(inline_svg(path.with_suffix(".svg"), '"<&'))


def test_figures_of_heads_and_curves(tmp_path):
    names = [f"{name}-ner" for name in NAMES]
    heads = {name: {"ents_f": Point(0.5, 0.1, 2)} for name in names}
    point = {"macro_token_f": 0.5, "ents_f": 0.5}
    cells = [
        Cell(name, name, "last", k, 0, 1, {}, {}, scores=point)
        for name in NAMES
        for k in (0, 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_heads(heads, NAMES, tmp_path / "heads")
        curves = Curves(cells[:12], "macro_token_f")
        draw_learning_curve(curves, NAMES, tmp_path / "curves", title="F1")
    for path in tmp_path.glob("*.svg"):
        ElementTree.parse(path)


@pytest.mark.parametrize(
    "names", [NAMES, [""], *weekly(["$"], ["\u200d", " "])], ids=len
)
def test_charts_of_a_corpus(names, tmp_path):
    stats = CorpusStats(words=Counter({3: 2}), annotations=Counter({1: 2}))
    stats.counts = Counter({name: i + 1 for i, name in enumerate(names)})
    stats.first = {name: (name, name) for name in names}
    lost = {name: 3 for name in names}
    stats.report = {
        "records": {"read": 9, "written": 9, "quarantined": lost, "dropped": {}},
        "annotations": {
            "read": 99,
            "matched": {"given": 3},
            "lost": lost,
            "unreadable_lines": lost,
        },
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)
        (tmp_path / "stats").mkdir()
        write_stats(stats, tmp_path / "stats", title=names[0])
    page = (tmp_path / "stats" / "stats.html").read_text("utf8")
    assert page.count("<svg") == 6
    assert page.count("<script>") == 1
