"""Spans as HTML: overlapping ones drawn by displaCy, scores where the mouse is."""

import html
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from spacy.displacy.render import SpanRenderer
from spacy.tokens import Doc, Span

from ..printing import printable

# Light enough for black text; Tableau's ten colours in their light variant.
COLOURS = (
    "#aec7e8",
    "#ffbb78",
    "#98df8a",
    "#ff9896",
    "#c5b0d5",
    "#c49c94",
    "#f7b6d2",
    "#dbdb8d",
    "#9edae5",
    "#c7c7c7",
)

# displaCy's own, with the score (which it takes as the id of a link) in the label.
TEMPLATE = {
    "span": (
        '<span class="token" style="height: {total_height}px">'
        "{text} {span_slices} {span_starts}</span> "
    ),
    "slice": '<span class="bar" style="background: {bg}; top: {top_offset}px"></span>',
    "start": (
        '<span class="bar first" style="background: {bg}; top: {top_offset}px">'
        '<span class="label" style="background: {bg}">{label}{kb_link}</span></span>'
    ),
}

# Of what `render_spans` draws, and of nothing else on the page that it is put into.
STYLE = """
.spans { font-size: 18px; line-height: 2.6 !important; white-space: pre-line;
  overflow-wrap: anywhere }
.spans .token { position: relative; display: inline-block; font-weight: 600 }
.spans .bar { position: absolute; inset-inline-start: -1px; width: calc(100% + 6px);
  height: 4px }
.spans .bar.first { border-start-start-radius: 3px; border-end-start-radius: 3px }
.spans .label { position: absolute; z-index: 1; top: -6px; padding: 2px 4px;
  font-size: 11px; line-height: 1.1; border-radius: 3px; color: #000;
  white-space: nowrap }
.spans .label a { display: none; pointer-events: none }
.spans .label:hover { z-index: 2; outline: 1px solid #222 }
.spans .label:hover a { display: inline }
"""

PAGE = """<!DOCTYPE html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif;
  max-width: 860px; margin: 0 auto; padding: 12px 24px; color: #222; background: #fff }}
{style}</style>
</head>
<body>
{content}
</body>
</html>
"""


def render_page(docs: Sequence[Doc], *, spans_key: str, title: str) -> str:
    """Draw the spans of docs, those that overlap one under another.

    docs (Sequence[Doc]): Docs with spans and, in the group's `attrs`, their scores.
    spans_key (str): Where in `doc.spans` they lie.
    title (str): Title of the page.
    RETURNS (str): A page that needs nothing else; a label shows the score of its span
        under the mouse.
    """
    groups = [doc.spans[spans_key] for doc in docs]
    labels = sorted({span.label_ for group in groups for span in group})
    content = "".join(
        render_spans(doc, group, group.attrs["scores"], labels=labels)
        for doc, group in zip(docs, groups, strict=True)
    )
    lang = docs[0].lang_ if docs else "en"
    return PAGE.format(
        lang=html.escape(lang), title=_show(title), style=STYLE, content=content
    )


def render_spans(
    doc: Doc,
    spans: Iterable[Span],
    scores: Iterable[float] | None = None,
    *,
    labels: Sequence[str],
) -> str:
    """Draw the spans of a doc, those that overlap one under another.

    doc (Doc): The doc, or the first tokens of one (`doc[:100].as_doc()`).
    spans (Iterable[Span]): Spans of it.
    scores (Iterable[float] | None): Their scores, where they have some.
        *Shape:* (n_spans,)
    labels (Sequence[str]): All labels that may be drawn: a label has the same colour
        wherever they are the same.
    RETURNS (str): HTML, for a page that has `STYLE`; a label shows the score of its
        span under the mouse.
    """
    colours = {
        _show(label): COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)
    }
    # Not displacy.render, which keeps what it draws where all threads see it.
    renderer = SpanRenderer(
        {
            "colors": colours,
            "template": TEMPLATE,
            # Room for the bars right below the words.
            "top_offset": 41,
            "top_offset_step": 19,
        }
    )
    spans = list(spans)
    shown = [""] * len(spans) if scores is None else [f"{p:.2f}" for p in scores]
    return renderer.render([_describe(doc, spans, shown)]).strip()


def _show(text: str) -> str:
    return html.escape(printable(text))


def _describe(doc: Doc, spans: list[Span], scores: list[str]) -> dict[str, Any]:
    return {
        "text": doc.text,
        # displaCy escapes what is HTML in them.
        "tokens": [printable(token.text, lines=True) for token in doc],
        "spans": [
            {
                "start_token": span.start,
                "end_token": span.end,
                "label": _show(span.label_),
                "kb_id": score,
            }
            for span, score in zip(spans, scores, strict=True)
        ],
        "settings": {"direction": _get_direction(doc.text)},
    }


def _get_direction(text: str) -> str:
    """The direction of the first letter that has one, as of HTML's `dir="auto"`."""
    kinds = map(unicodedata.bidirectional, text)
    strong = next((kind for kind in kinds if kind in ("L", "R", "AL")), "L")
    return "ltr" if strong == "L" else "rtl"
