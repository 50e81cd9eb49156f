"""Docs as a page: overlapping spans drawn by displaCy, scores where the mouse is."""

import html
from collections.abc import Sequence
from typing import Any

from spacy import displacy
from spacy.tokens import Doc

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

PAGE = """<!DOCTYPE html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 18px/2.6 system-ui, "Segoe UI", Helvetica, Arial, sans-serif;
  max-width: 860px; margin: 0 auto; padding: 12px 24px; color: #222; background: #fff }}
.spans {{ line-height: 2.6 !important }}
.token {{ position: relative; display: inline-block; font-weight: 600 }}
.bar {{ position: absolute; left: -1px; width: calc(100% + 6px); height: 4px }}
.token .bar.first {{ border-radius: 3px 0 0 3px }}
.label {{ position: absolute; z-index: 1; top: -6px; padding: 2px 4px; font-size: 11px;
  line-height: 1.1; border-radius: 3px; color: #000; white-space: nowrap }}
.label a {{ display: none; pointer-events: none }}
.label:hover {{ z-index: 2; outline: 1px solid #222 }}
.label:hover a {{ display: inline }}
</style>
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
    labels = sorted({span.label_ for doc in docs for span in doc.spans[spans_key]})
    shown = [_show(label) for label in labels]
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(shown)}
    content = displacy.render(
        [_describe(doc, spans_key) for doc in docs],
        style="span",
        manual=True,
        jupyter=False,
        # Room for the bars right below the words.
        options={
            "colors": colours,
            "template": TEMPLATE,
            "top_offset": 41,
            "top_offset_step": 19,
        },
    )
    lang = docs[0].lang_ if docs else "en"
    return PAGE.format(lang=html.escape(lang), title=_show(title), content=content)


def _show(text: str) -> str:
    return html.escape(printable(text))


def _describe(doc: Doc, spans_key: str) -> dict[str, Any]:
    group = doc.spans[spans_key]
    return {
        "text": doc.text,
        # displaCy escapes what is HTML in them.
        "tokens": [printable(token.text, lines=True) for token in doc],
        "spans": [
            {
                "start_token": span.start,
                "end_token": span.end,
                "label": _show(span.label_),
                "kb_id": f"{score:.2f}",
            }
            for span, score in zip(group, group.attrs["scores"], strict=True)
        ],
    }
