"""The `nuner_ner` component: entities, one label a token at most."""

from collections.abc import Iterable, Sequence

import numpy as np
from spacy.tokens import Doc, Span
from thinc.types import Floats2d

from .decoding import make_spans, set_ents, set_group
from .label_pipe import LabelPipe


class NunerNer(LabelPipe):
    """Fill `doc.ents`; the entities are in `doc.spans[NAME]` too, with scores.

    For each token the likeliest of the labels and "none" wins (softmax, the logit of
    "none" is 0); neighbouring tokens of a label are an entity, up to where the model
    says that another one begins. NAME is the name of the component.
    """

    exclusive = True
    # Of corpora that `spacy nuner convert` makes.
    described_key = "concepts"

    @property
    def spans_key(self) -> str:  # type: ignore[override]
        """RETURNS (str): Where in `doc.spans` the entities and their scores are."""
        return str(self.name)

    def set_annotations(self, docs: Iterable[Doc], logits: Sequence[Floats2d]) -> None:
        """Set entities and scores.

        docs (Iterable[Doc]): The docs to change.
        logits (Sequence[Floats2d]): What `predict` returned for them.
        """
        docs = list(docs)
        made = make_spans(docs, self.find_spans(docs, logits), self.labels)
        for doc, (spans, scores) in zip(docs, made, strict=True):
            existing = [] if self.overwrite else self._find_existing(doc)
            chosen = set_ents(doc, spans, scores, overwrite=self.overwrite)
            found = [*existing, *((spans[i], float(scores[i])) for i in chosen)]
            found.sort(key=lambda one: one[0].start)
            ents = [span for span, _ in found]
            known = np.asarray([score for _, score in found], dtype=scores.dtype)
            set_group(doc, ents, known, key=self.spans_key)

    def _find_existing(self, doc: Doc) -> list[tuple[Span, float]]:
        """What this component set when it saw the doc before, and what still stands."""
        group = doc.spans.get(self.spans_key, [])
        scores = getattr(group, "attrs", {}).get("scores")
        if scores is None or len(scores) != len(group):
            return []
        ents = set(doc.ents)
        pairs = zip(group, np.asarray(scores).tolist(), strict=True)
        return [(span, score) for span, score in pairs if span in ents]
