"""The page of `spacy nuner demo`, which Streamlit runs anew after each change on it.

Texts and names of the user's go only to what shows them as they are, or are escaped:
Streamlit reads most of what it is given as Markdown.
"""

import json
import sys
from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st
from spacy.tokens import Doc, Span

from spacy_nuner.demo.finder import ScoredText, SpanFinder, to_json
from spacy_nuner.errors import NunerError
from spacy_nuner.pipeline.decoding import THRESHOLD, Floats
from spacy_nuner.pipeline.display import STYLE, render_spans
from spacy_nuner.printing import escape_markdown, printable

TEXT = "In March 2019 Ana Lima left Porto to bake sourdough bread in Lisbon."
CONCEPTS = {"person": "", "city": "", "food": "something to eat"}
# Longer ones take long, and browsers get slow; files are for commands.
MAX_CHARACTERS = 100_000
# That are drawn, for the same reason.
MAX_TOKENS = 2_000
# Texts whose logits are kept.
MAX_TEXTS = 4

Concepts = tuple[tuple[str, str | None], ...]


@st.cache_resource(show_spinner="Loading the pipeline")
def load(source: str, pipe_name: str | None, lang: str) -> SpanFinder:
    """See `SpanFinder.load`: once for all who look at the page."""
    return SpanFinder.load(source, pipe_name=pipe_name, lang=lang)


@st.cache_resource(
    max_entries=MAX_TEXTS, show_spinner="Reading the text", hash_funcs={SpanFinder: id}
)
def score(finder: SpanFinder, text: str, concepts: Concepts) -> ScoredText:
    """See `SpanFinder.score`: not again where only the threshold has changed."""
    return finder.score(text, dict(concepts))


def main(source: str, pipe_name: str, lang: str) -> None:
    """Draw the page.

    source (str): See `SpanFinder.load`.
    pipe_name (str): As there; "" for the first component.
    lang (str): As there.
    """
    st.set_page_config(page_title="spacy nuner demo", layout="wide")
    try:
        finder = load(source, pipe_name or None, lang)
        asking, answering = st.columns([2, 3], gap="large")
        with asking:
            st.subheader(f"Spans found by {escape_markdown(source)}", anchor=False)
            takes_concepts = finder.takes_concepts
            text = st.text_area("Text", TEXT if takes_concepts else "", height=120)
            concepts = ask_concepts() if takes_concepts else {}
            wanted = [] if takes_concepts else ask_labels(finder.labels)
            threshold = ask_threshold(finder)
        with answering:
            if problem := find_problem(finder, text, concepts):
                st.info(problem)
                return
            scored = score(finder, text, tuple(concepts.items()))
            answer(finder, scored, source, concepts, wanted, threshold)
    except NunerError as error:
        st.error(escape_markdown(error))


def ask_concepts() -> dict[str, str | None]:
    """RETURNS (dict[str, str | None]): Name -> description, of all concepts."""
    empty = {"concept": [*CONCEPTS], "description": [*CONCEPTS.values()]}
    table = st.data_editor(
        pd.DataFrame(empty, dtype="object"),
        num_rows="dynamic",
        hide_index=True,
        width="stretch",
        key="concepts",
        column_config={
            "concept": st.column_config.TextColumn(width="small"),
            "description": st.column_config.TextColumn(width="medium"),
        },
    )
    found: dict[str, str | None] = {}
    twice = 0
    for name, description in table.fillna("").astype(str).itertuples(index=False):
        if name.strip() and name.strip() not in found:
            found[name.strip()] = description.strip() or None
        elif name.strip():
            twice += 1
    if twice:
        st.caption(f"Named twice: {twice}. The first row of a name counts.")
    return found


def ask_labels(labels: tuple[str, ...]) -> list[str]:
    """RETURNS (list[str]): The labels to show; none for all of them."""
    return st.multiselect(
        "Labels", labels, placeholder=f"All {len(labels)}; choose some to see no others"
    )


def ask_threshold(finder: SpanFinder) -> float | None:
    """RETURNS (float | None): The threshold of all labels; None for those of the
    pipeline, and where spans have no scores.
    """
    if finder.pipe is None:
        st.caption("These entities have no scores, and so there is no threshold.")
        return None
    if finder.pipe.exclusive:
        note = "A token has its likeliest label; this hides spans of low score."
        return st.slider("Least score", 0.0, 1.0, 0.0, 0.01, help=note)
    own = finder.threshold
    if isinstance(own, Mapping) and st.toggle("Thresholds of the pipeline", value=True):
        return None
    start = THRESHOLD if own is None or isinstance(own, Mapping) else float(own)
    return st.slider("Threshold", 0.0, 1.0, start, 0.01)


def find_problem(
    finder: SpanFinder, text: str, concepts: Mapping[str, str | None]
) -> str:
    """RETURNS (str): What is missing before a text can be read; "" if nothing is."""
    if not text.strip():
        return "Type a text on the left, then Ctrl+Enter."
    if len(text) > MAX_CHARACTERS:
        return (
            f"The text has {len(text):,} characters; this page takes "
            f"{MAX_CHARACTERS:,}. `spacy nuner apply` tags longer ones."
        )
    if finder.takes_concepts and not concepts:
        return "Name a concept on the left."
    return ""


def answer(
    finder: SpanFinder,
    scored: ScoredText,
    source: str,
    concepts: Mapping[str, str | None],
    wanted: list[str],
    threshold: float | None,
) -> None:
    """Draw the spans, the table of them and the button to download them."""
    thresholds = finder.thresholds if threshold is None else None
    if thresholds is None:
        thresholds = np.full(len(scored.labels), threshold or 0.0)
    spans, scores = scored.find(thresholds)
    if wanted:
        shown = np.asarray([span.label_ in wanted for span in spans], dtype=bool)
        spans = [span for span, is_shown in zip(spans, shown, strict=True) if is_shown]
        scores = None if scores is None else scores[shown]
    # In the order of the table, so that a label keeps its colour.
    labels = [*concepts] or [*scored.labels]
    draw(scored.doc, spans, scores, labels)
    st.dataframe(
        make_table(spans, scores),
        hide_index=True,
        width="stretch",
        column_config={
            "score": st.column_config.ProgressColumn(
                min_value=0, max_value=1, format="%.2f", width="small"
            )
        },
    )
    known = concepts or finder.label_data
    content = to_json(
        scored.doc.text,
        spans,
        scores,
        source=source,
        thresholds=None
        if scores is None
        else dict(zip(scored.labels, thresholds.tolist(), strict=True)),
        labels={label: known.get(label) for label in wanted or labels},
    )
    st.download_button(
        "Download as JSON",
        json.dumps(content, ensure_ascii=False, indent=1),
        file_name="spans.json",
        mime="application/json",
        on_click="ignore",
    )


def draw(doc: Doc, spans: list[Span], scores: Floats | None, labels: list[str]) -> None:
    """Draw the spans of the first tokens."""
    if len(doc) > MAX_TOKENS:
        st.caption(
            f"Drawn are the first {MAX_TOKENS:,} of {len(doc):,} tokens; the table and "
            "the JSON have the spans of all."
        )
        inside = [i for i, span in enumerate(spans) if span.end <= MAX_TOKENS]
        doc = doc[:MAX_TOKENS].as_doc()
        spans = [spans[i] for i in inside]
        scores = None if scores is None else scores[inside]
    labels = labels + sorted({span.label_ for span in spans} - set(labels))
    drawn = render_spans(doc, spans, scores, labels=labels)
    st.html(f"<style>{STYLE}</style>{drawn}")


def make_table(spans: list[Span], scores: Floats | None) -> pd.DataFrame:
    """RETURNS (pd.DataFrame): A row for each span."""
    columns: dict[str, object] = {
        "span": [printable(span.text) for span in spans],
        "label": [printable(span.label_) for span in spans],
    }
    if scores is not None:
        columns["score"] = scores
    return pd.DataFrame(columns)


if __name__ == "__main__":
    main(*sys.argv[1:])
