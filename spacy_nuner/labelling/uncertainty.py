"""What a pipeline finds in texts, and of what it is unsure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span

from ..encoders.batching import batch_by_length
from ..errors import Errors, NunerError
from ..models.concept_tagger import join_rows
from ..pipeline.decoding import (
    MAX_TOKENS,
    THRESHOLD,
    Floats,
    drop_edge_spaces,
    get_probabilities,
    get_spaces,
    join_cells,
)
from ..pipeline.label_pipe import LabelPipe
from ..pipeline.nuner_concepts import NunerConcepts
from ..pipeline.targets import get_annotated
from .tasks import Mark

# A span is possible from this probability on.
LOWEST = 0.1
# So many of the likeliest possible spans of a text are looked at, which bounds memory.
MOST_SPANS = 24
# Of vectors that are made of words, where a pipeline has none.
HASHED_WIDTH = 256
Halves = NDArray[np.float16]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Judgement:
    """A text as a pipeline sees it. It holds nothing of spaCy's.

    words (list[str]): The tokens.
    spaces (list[bool]): Whether a blank follows each of them.
    marks (list[Mark]): The spans that the pipeline sets.
    labels (list[str]): Labels of the spans that are possible, set or not.
    starts, ends (list[int]): Their first characters, and those behind their last.
    scores (Floats): Their probabilities; a half is where the pipeline sets a span.
        *Shape:* (n_possible,)
    vectors (Halves): The means of the vectors of their tokens.
        *Shape:* (n_possible, width)
    """

    words: list[str]
    spaces: list[bool]
    marks: list[Mark]
    labels: list[str]
    starts: list[int]
    ends: list[int]
    scores: Floats
    vectors: Halves


def run_by_halves(
    run: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> Iterator[Result | Exception]:
    """Run a pipeline on items; where it fails, find out by halves on which.

    run (Callable[[Sequence], Sequence]): Gives a result for each item.
    items (Sequence): The items.
    YIELDS (Result | Exception): The result of each, or why there is none.
    """
    try:
        found = run(items)
    except Exception as error:  # whatever a component raises
        if len(items) == 1:
            yield error
            return
    else:
        yield from found
        return
    half = len(items) // 2
    yield from run_by_halves(run, items[:half])
    yield from run_by_halves(run, items[half:])


class Judge:
    """Runs a pipeline and looks at what it is unsure of."""

    def __init__(self, nlp: Language, pipe_name: str | None = None) -> None:
        """Find the component.

        nlp (Language): Any pipeline that sets entities or spans. Of a `nuner_concepts`
            or `nuner_ner` all probabilities are known; of others the spans that they
            set, with scores where a span group has them.
        pipe_name (str | None): Name of a component; None for the first of this package,
            else all of the pipeline.
        RAISES (NunerError): N711 if there is no such component, or none that could set
            an entity or a span.
        """
        self.nlp = nlp
        self.pipe: LabelPipe | None = None
        for name, pipe in nlp.pipeline:
            if isinstance(pipe, LabelPipe) and pipe_name in (None, name):
                self.pipe = pipe
                break
        setting = any(_may_set_spans(nlp, name) for name in nlp.pipe_names)
        if self.pipe is None and (pipe_name is not None or not setting):
            found = ", ".join(nlp.pipe_names) or "no components"
            raise NunerError(Errors.N711, name=pipe_name or "any", found=found)
        # Whether a set span had no score, so that nothing is known of its probability.
        self.unscored = False

    @property
    def labels(self) -> list[str]:
        """RETURNS (list[str]): The labels of the component, or of the pipeline."""
        if self.pipe is not None:
            return list(self.pipe.labels)
        return self._list_labels(self.nlp.pipe_names)

    @property
    def written_labels(self) -> list[str]:
        """RETURNS (list[str]): The labels of all spans that judgements may have."""
        if self.pipe is None or not self._sets_ents:
            return self.labels
        names = self.nlp.pipe_names
        before = names[: names.index(self.pipe.name)]
        return list(dict.fromkeys([*self.labels, *self._list_labels(before)]))

    def _list_labels(self, names: Sequence[str]) -> list[str]:
        found = [
            label
            for name in names
            if _may_set_spans(self.nlp, name)
            for label in self.nlp.pipe_labels.get(name, [])
        ]
        return list(dict.fromkeys(found))

    @property
    def _sets_ents(self) -> bool:
        """Whether the entities of a doc are spans that the component set or left."""
        return not isinstance(self.pipe, NunerConcepts) or self.pipe.annotate_ents

    def get_gold(self, doc: Doc) -> list[Span]:
        """Read what the component learns from.

        doc (Doc): A labelled doc.
        RETURNS (list[Span]): Its spans. Where they are not annotated, and of other
            components, all of the doc.
        """
        if self.pipe is not None:
            key = self.pipe.gold_key
            if doc.has_annotation("ENT_IOB") if key is None else key in doc.spans:
                return get_annotated(doc, spans_key=key)
        return get_all_spans(doc)

    def judge(self, texts: Sequence[str | Doc]) -> Iterator[Judgement | Exception]:
        """Run the pipeline; where it fails, find out by halves on which texts.

        texts (Sequence[str | Doc]): As for `judge_all`.
        YIELDS (Judgement | Exception): One for each text.
        """
        yield from run_by_halves(self.judge_all, texts)

    def judge_all(self, texts: Sequence[str | Doc]) -> list[Judgement]:
        """Run the pipeline.

        texts (Sequence[str | Doc]): Texts, or docs of the pipeline's vocabulary that
            have tokens and nothing else.
        RETURNS (list[Judgement]): One for each.
        """
        if self.pipe is None:
            docs = list(self.nlp.pipe(texts))
            if len(docs) != len(texts):
                raise RuntimeError(f"{len(docs)} docs of {len(texts)} texts")
            return [self._judge_marks(doc) for doc in docs]
        docs = self.run_before(texts)
        found: list[Judgement | None] = [None] * len(docs)
        lengths = [len(doc) for doc in docs]
        for part in batch_by_length(lengths, max_size=MAX_TOKENS):
            chosen = [docs[i] for i in part]
            for i, one in zip(part, self._judge_logits(chosen), strict=True):
                found[i] = one
        judgements = [one for one in found if one is not None]
        if len(judgements) != len(texts):
            raise RuntimeError(f"{len(judgements)} docs of {len(texts)} texts")
        return judgements

    def embed(self, docs: Sequence[Doc]) -> list[Any]:
        """Get the vectors of tokens, as those of judgements are made of.

        docs (Sequence[Doc]): Docs of the pipeline's vocabulary that have tokens.
        RETURNS (list[Floats2d]): *Shape:* (n_tokens, width) for each doc
        """
        if self.pipe is None:
            return [_get_vectors(doc) for doc in self.nlp.pipe(docs)]
        docs = self.run_before(docs)
        found: list[Any] = [None] * len(docs)
        lengths = [len(doc) for doc in docs]
        for part in batch_by_length(lengths, max_size=MAX_TOKENS):
            _, vectors = self.pipe.predict_with_vectors([docs[i] for i in part])
            for i, array in zip(part, vectors, strict=True):
                found[i] = self.pipe.model.ops.to_numpy(array)
        return found

    def run_before(self, texts: Sequence[str | Doc]) -> list[Doc]:
        """Run the components before the one that is looked at."""
        names = self.nlp.pipe_names
        position = names.index(self.pipe.name) if self.pipe is not None else 0
        with self.nlp.select_pipes(enable=names[:position]):
            return list(self.nlp.pipe(texts))

    def _judge_logits(self, docs: list[Doc]) -> list[Judgement]:
        """Judge docs by the logits of the component; the encoder runs once."""
        pipe = self.pipe
        if pipe is None or not any(len(doc) for doc in docs):
            return [self._judge_marks(doc) for doc in docs]
        logits, vectors = pipe.predict_with_vectors(docs)
        pipe.set_annotations(docs, logits)
        labels = pipe.labels
        width = max(array.shape[1] for array in vectors)
        flat = join_rows(pipe.model.ops, vectors, width)
        lengths = [len(doc) for doc in docs]
        label_logits, boundary = pipe.join_logits(logits)
        begins = pipe.get_begins(docs, boundary)
        probabilities = get_likelihoods(label_logits, pipe.thresholds)
        active = probabilities >= LOWEST
        if pipe.exclusive:
            # One label a token at most: the likeliest.
            best = probabilities == probabilities.max(axis=1, keepdims=True, initial=0)
            active &= best
        active = drop_edge_spaces(active, get_spaces(docs), lengths, begins=begins)
        rows, columns = np.divmod(np.flatnonzero(active), max(active.shape[1], 1))
        spans = join_cells(
            rows, columns, probabilities[rows, columns], lengths, begins=begins
        )
        first = np.cumsum([0, *lengths])
        sums = np.concatenate([np.zeros((1, width), "f4"), np.cumsum(flat, axis=0)])
        bounds = np.searchsorted(spans.docs, np.arange(len(docs) + 1)).tolist()
        judgements = []
        for i, doc in enumerate(docs):
            own = slice(bounds[i], bounds[i + 1])
            # The likeliest, in the order of the text.
            order = np.argsort(-spans.scores[own], kind="stable")[:MOST_SPANS]
            order = np.sort(order) + bounds[i]
            starts, ends = spans.starts[order], spans.ends[order]
            totals = sums[first[i] + ends] - sums[first[i] + starts]
            judgements.append(
                Judgement(
                    **_copy_words(doc),
                    marks=self._get_marks(doc),
                    labels=[labels[one] for one in spans.labels[order].tolist()],
                    starts=[doc[one].idx for one in starts.tolist()],
                    ends=[
                        doc[one - 1].idx + len(doc[one - 1]) for one in ends.tolist()
                    ],
                    scores=spans.scores[order],
                    vectors=normalise_rows(totals),
                )
            )
        return judgements

    def _judge_marks(self, doc: Doc) -> Judgement:
        """Judge a doc by the spans that are set in it."""
        marks = self._get_marks(doc)
        looked_at = marks[:MOST_SPANS]
        table = _get_vectors(doc)
        rows = []
        for mark in looked_at:
            # Marks are made of spans of the doc, so there is one.
            span: Any = doc.char_span(mark.start, mark.end)
            rows.append(table[span.start : span.end].mean(axis=0))
        self.unscored |= any(mark.score is None for mark in marks)
        return Judgement(
            **_copy_words(doc),
            marks=marks,
            labels=[mark.label for mark in looked_at],
            starts=[mark.start for mark in looked_at],
            ends=[mark.end for mark in looked_at],
            # Nothing is known: it may be right or wrong.
            scores=np.asarray(
                [THRESHOLD if one.score is None else one.score for one in looked_at],
                dtype="f4",
            ),
            vectors=normalise_rows(np.asarray(rows).reshape(-1, table.shape[1])),
        )

    def _get_marks(self, doc: Doc) -> list[Mark]:
        """Read the spans that are set.

        They are entities and spans of groups: of a component of this package of its
        own group, and if it sets no entities, those in `doc.ents` are of others.
        """
        keys = list(doc.spans) if self.pipe is None else [self.pipe.spans_key]
        scores: dict[tuple[int, int, str], float | None] = {}
        for key in keys:
            group = doc.spans.get(key, [])
            found = getattr(group, "attrs", {}).get("scores")
            known = [None] * len(group) if found is None else np.asarray(found).tolist()
            for span, score in zip(group, known, strict=True):
                place = (span.start_char, span.end_char, span.label_)
                own = _get_own_score(span) if score is None else score
                if scores.get(place) is None:
                    scores[place] = own
        for ent in doc.ents if self._sets_ents else ():
            place = (ent.start_char, ent.end_char, ent.label_)
            own = _get_own_score(ent)
            if own is not None or place not in scores:
                scores[place] = own
        # Without a label a span is a candidate of a component to come.
        return [Mark(*one, scores[one]) for one in sorted(scores) if one[2]]


def _get_own_score(span: Span) -> float | None:
    """The score of a span that carries it itself, as `gliner_spacy` sets it."""
    score = span._.get("score") if Span.has_extension("score") else None
    return float(score) if isinstance(score, (int, float)) else None


def get_all_spans(doc: Doc) -> list[Span]:
    """RETURNS (list[Span]): The annotated spans of all groups, then the entities that
    are not among them."""
    found: dict[tuple[int, int, str], Span] = {}
    for group in (*doc.spans.values(), doc.ents):
        for span in group:
            found.setdefault((span.start, span.end, span.label_), span)
    return list(found.values())


def get_likelihoods(logits: Floats, thresholds: Floats | None) -> Floats:
    """Turn logits into probabilities of which a half decides.

    logits (Floats): *Shape:* (n_tokens, n_labels)
    thresholds (Floats | None): As for `decode`.
    RETURNS (Floats): For exclusive labels their probabilities; of independent ones each
        is stretched on both sides of its threshold, which becomes a half. Same shape.
    """
    found = get_probabilities(logits, exclusive=thresholds is None)
    if thresholds is None:
        return found
    t = np.clip(np.asarray(thresholds, "f8"), 1e-6, 1 - 1e-6)
    below = THRESHOLD * found / t
    above = 1 - (1 - THRESHOLD) * (1 - found) / (1 - t)
    return np.where(found < t, below, above)


def _may_set_spans(nlp: Language, name: str) -> bool:
    """Whether a component sets entities or spans, or does not say what it sets."""
    assigned = set(nlp.get_pipe_meta(name).assigns)
    return not assigned or bool(assigned & {"doc.ents", "doc.spans"})


def _copy_words(doc: Doc) -> dict[str, Any]:
    return {
        "words": [token.text for token in doc],
        "spaces": [bool(token.whitespace_) for token in doc],
    }


def normalise_rows(rows: Any) -> Halves:
    """RETURNS (Halves): Vectors of length 1. *Shape:* (n_rows, width)"""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float16)


def _get_vectors(doc: Doc) -> Any:
    """Vectors of tokens from whatever the pipeline has; else each word's own axis."""
    if doc.tensor.shape[:1] == (len(doc),) and doc.tensor.ndim == 2 and len(doc):
        tensor: Any = doc.tensor
        # Of another device.
        return np.asarray(tensor.get() if hasattr(tensor, "get") else tensor, "f4")
    if doc.vocab.vectors_length:
        table = np.zeros((len(doc), doc.vocab.vectors_length), dtype="f4")
        for token in doc:
            table[token.i] = token.vector
        return table
    table = np.zeros((len(doc), HASHED_WIDTH), dtype="f4")
    columns = [token.lower % HASHED_WIDTH for token in doc]
    table[np.arange(len(doc)), columns] = 1.0
    return table
