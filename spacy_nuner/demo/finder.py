"""A pipeline as the demo uses it: a text is scored once, and read at any threshold.

Nothing of Streamlit is in here.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import is_package

from ..errors import Errors, NunerError
from ..loading import load_pipeline
from ..pipeline.decoding import Bools, Floats, decode, get_spaces, make_spans
from ..pipeline.label_pipe import LabelPipe
from ..pipeline.label_vectors import find_label_vectors
from ..pipeline.nuner_concepts import NunerConcepts
from ..tokenizers import blank
from ..utf8 import check_utf8

COMPONENT = "nuner_concepts"


@dataclass(frozen=True)
class ScoredText:
    """What a pipeline has made of a text, before any threshold.

    doc: The text.
    labels: What was looked for.
    logits: On the processor. *Shape:* (n_tokens, n_labels) None if the entities of
        `doc` are all that there is.
    exclusive: Whether a token has one label at most.
    begins: As for `decode`. *Shape:* (n_tokens,)
    """

    doc: Doc
    labels: tuple[str, ...]
    logits: Floats | None = None
    exclusive: bool = False
    begins: Bools | None = None

    def find(self, thresholds: Floats) -> tuple[list[Span], Floats | None]:
        """Read the spans at a threshold, which takes no encoder.

        thresholds (Floats): The probability over which a span belongs to each label;
            where a token has one label at most, the least score of a span that is
            taken. *Shape:* (n_labels,)
        RETURNS (tuple[list[Span], Floats | None]): The spans, and their scores if they
            have some. *Shape:* (n_spans,)
        """
        if self.logits is None:
            return list(self.doc.ents), None
        docs = [self.doc]
        found = decode(
            self.logits,
            [len(self.doc)],
            get_spaces(docs),
            thresholds=None if self.exclusive else thresholds,
            begins=self.begins,
        )
        if self.exclusive:
            found = found.select(found.scores > thresholds[found.labels])
        return make_spans(docs, found, self.labels)[0]


class SpanFinder:
    """A pipeline with its own labels, or a backbone that any concept can be named to.

    Several threads may share one: while one of them reads a text, others wait.
    """

    def __init__(
        self,
        nlp: Language,
        pipe: LabelPipe | None = None,
        *,
        takes_concepts: bool = False,
    ) -> None:
        """nlp (Language): The pipeline. It is changed: components that stand behind
            `pipe` are disabled.
        pipe (LabelPipe | None): The component that finds the spans; None for the
            entities that the pipeline sets.
        takes_concepts (bool): Whether the labels of `pipe` are those that each text
            comes with, instead of its own.
        """
        self.nlp = nlp
        self.pipe = pipe
        self.takes_concepts = takes_concepts
        self._described: dict[str, str | None] = {}
        self._lock = threading.Lock()
        if pipe is not None:
            # The component is asked for its logits here.
            for name in nlp.pipe_names[nlp.pipe_names.index(pipe.name) :]:
                nlp.disable_pipe(name)

    @classmethod
    def load(cls, source: str, *, pipe_name: str | None, lang: str) -> Self:
        """Load a pipeline or a backbone.

        source (str): A saved pipeline, an installed one, or a backbone in one of the
            four forms of names.
        pipe_name (str | None): Name of the component of a pipeline; None for the first
            nuner_concepts or nuner_ner, and where there is none, for the entities.
        lang (str): Language of the texts, with a backbone.
        RETURNS (SpanFinder): The finder.
        RAISES (NunerError): N690 for an encoder that can't read names, N691 for a
            pipeline that finds no spans, N010 if there is no such language; what
            loading a backbone or a pipeline raises.
        """
        check_utf8(source, "the pipeline or backbone")
        if os.path.isfile(Path(source) / "meta.json") or is_package(source):
            nlp = load_pipeline(source)
            pipe = _find_pipe(nlp, pipe_name)
            if pipe is None and (pipe_name or not _find_ent_pipes(nlp)):
                found = ", ".join(nlp.pipe_names) or "no components"
                raise NunerError(Errors.N691, path=source, found=found)
            return cls(nlp, pipe)
        if find_label_vectors(source) is None:
            raise NunerError(Errors.N690, name=source)
        nlp = blank(lang)
        made: Any = nlp.add_pipe(COMPONENT, config={"backbone": source})
        return cls(nlp, made, takes_concepts=True)

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): What is looked for in any text; none of a backbone
        that takes concepts.
        """
        if self.takes_concepts:
            return ()
        if self.pipe is not None:
            return self.pipe.labels
        known = self.nlp.pipe_labels
        names = _find_ent_pipes(self.nlp)
        return tuple(sorted({x for name in names for x in known.get(name, [])}))

    @property
    def label_data(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): What is known of each of its own labels: label ->
        description, or label -> {"name", "description"}; None of those that another
        component has.
        """
        if self.takes_concepts or self.pipe is None:
            return dict.fromkeys(self.labels)
        return self.pipe.label_data

    @property
    def threshold(self) -> float | dict[str, float] | None:
        """RETURNS (float | dict[str, float] | None): The threshold of the component,
        for all labels or for some; None if it has none of its own.
        """
        return self.pipe.threshold if isinstance(self.pipe, NunerConcepts) else None

    @property
    def thresholds(self) -> Floats | None:
        """RETURNS (Floats | None): The threshold of each label. *Shape:* (n_labels,)
        None if a token has one label at most, or spans have no score.
        """
        return None if self.pipe is None else self.pipe.thresholds

    def score(
        self, text: str, concepts: Mapping[str, str | None] | None = None
    ) -> ScoredText:
        """Run the encoder over a text.

        text (str): The text.
        concepts (Mapping[str, str | None] | None): Name -> description, of what is
            looked for with a backbone.
        RETURNS (ScoredText): The text with its logits.
        RAISES (NunerError): N501 for a name that is empty.
        """
        with self._lock:
            if self.takes_concepts:
                self._set_concepts(concepts or {})
            doc = self.nlp(text)
            if self.pipe is None:
                return ScoredText(doc, self.labels)
            logits, boundary = self.pipe.join_logits(self.pipe.predict([doc]))
            return ScoredText(
                doc,
                self.pipe.labels,
                logits,
                self.pipe.exclusive,
                self.pipe.get_begins([doc], boundary),
            )

    def _set_concepts(self, concepts: Mapping[str, str | None]) -> None:
        """Remove and add labels, so that the others need not be encoded again."""
        pipe: Any = self.pipe
        for name, description in [*self._described.items()]:
            # A description can be changed, and not be taken away.
            if name not in concepts or concepts[name] != description:
                pipe.remove_label(name)
                del self._described[name]
        for name, description in concepts.items():
            pipe.add_label(name, description)
            self._described[name] = description


def to_json(
    text: str,
    spans: Iterable[Span],
    scores: Floats | None,
    *,
    source: str,
    thresholds: Mapping[str, float] | None,
    labels: Mapping[str, str | Mapping[str, str | None] | None],
) -> dict[str, Any]:
    """Describe what was found, in a form that `spacy nuner import` reads as well.

    text (str): The text.
    spans (Iterable[Span]): The spans.
    scores (Floats | None): Their scores. *Shape:* (n_spans,)
    source (str): What found them.
    thresholds (Mapping[str, float] | None): Label -> threshold.
    labels (Mapping[str, str | Mapping[str, str | None] | None]): Of all that was looked
        for, label -> description, or label -> {"name", "description"}.
    RETURNS (dict[str, Any]): `text`, `spans` (`start` and `end` in characters, the end
        exclusive), `labels` in the form of the setting, `thresholds` and `pipeline`.
    """
    rows: list[dict[str, Any]] = [
        {
            "start": span.start_char,
            "end": span.end_char,
            "label": span.label_,
            "text": span.text,
        }
        for span in spans
    ]
    if scores is not None:
        for row, score in zip(rows, scores.tolist(), strict=True):
            row["score"] = round(score, 4)
    return {
        "text": text,
        "spans": rows,
        "labels": [
            {"label": label}
            | (dict(known) if isinstance(known, Mapping) else {"description": known})
            for label, known in labels.items()
        ],
        "thresholds": None if thresholds is None else dict(thresholds),
        "pipeline": source,
    }


def _find_pipe(nlp: Language, name: str | None) -> LabelPipe | None:
    for found, pipe in nlp.pipeline:
        if isinstance(pipe, LabelPipe) and name in (None, found):
            return pipe
    return None


def _find_ent_pipes(nlp: Language) -> list[str]:
    """The names of the components that set entities."""
    names = nlp.pipe_names
    return [name for name in names if "doc.ents" in nlp.get_pipe_meta(name).assigns]
