"""The `nuner_ner` component: entities, one label a token at most."""

from collections.abc import Iterable, Sequence

from spacy.tokens import Doc
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
            chosen = set_ents(doc, spans, scores, overwrite=self.overwrite)
            ents = [spans[i] for i in chosen]
            set_group(doc, ents, scores[chosen], key=self.spans_key)
