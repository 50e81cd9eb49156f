"""`spacy_nuner.concepts_scorer.v1`: precision, recall and F1 of spans and entities."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy.scorer import Scorer, get_ner_prf
from spacy.training import Example

# The key of spans by default.
KEY = "concepts"


def score_concepts(
    examples: Iterable[Example],
    *,
    spans_key: str = KEY,
    annotate_ents: bool = False,
    **kwargs: Any,
) -> dict[str, Any]:
    """Score the spans, and the entities where the component sets them.

    examples (Iterable[Example]): Predictions and annotations.
    spans_key (str): Where the spans lie in `doc.spans`.
    annotate_ents (bool): Whether the component fills `doc.ents`.
    RETURNS (dict[str, Any]): `spans_{key}_p`, `_r`, `_f`, `_per_type` where spans are
        annotated, and spaCy's `ents_p`, `ents_r`, `ents_f`, `ents_per_type`. Scores of
        another key are there as `spans_concepts_*` too, unless spans are annotated
        there: these are what the score weights of the factory and of the configs name,
        whatever the key.
    """
    examples = list(examples)
    scores = Scorer.score_spans(
        examples,
        f"spans_{spans_key}",
        getter=lambda doc, _: doc.spans.get(spans_key, []),
        has_annotation=lambda doc: spans_key in doc.spans,
        allow_overlap=True,
    )
    if not any(KEY in eg.reference.spans for eg in examples):
        prefix = f"spans_{spans_key}_"
        alias = {key.replace(prefix, f"spans_{KEY}_"): scores[key] for key in scores}
        scores.update(alias)
    if annotate_ents:
        scores.update(get_ner_prf(examples))
    return scores


def make_concepts_scorer() -> Callable[..., dict[str, Any]]:
    """Score spans (`spans_concepts_p`, `_r`, `_f`), and entities where they are set.

    RETURNS (Callable): `score_concepts`, for the registry.
    """
    return score_concepts
