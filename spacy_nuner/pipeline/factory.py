"""The factory of `nuner_concepts` and its default config."""

from collections.abc import Callable
from typing import Any, Literal

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config, Model
from thinc.types import Floats2d

from .nuner_concepts import NunerConcepts

DEFAULT_CONFIG = Config().from_str(
    """
[nuner_concepts]
backbone = null
concepts = {}
names = {}
start = "names"
spans_key = "concepts"
threshold = null
temperature = 1.0
exclusive = false
set_ents = false
overwrite_ents = false
rank_ents = "score"
keep_concept_encoder = false
scorer = {"@scorers":"spacy_nuner.concepts_scorer.v1"}

[nuner_concepts.model]
@architectures = "spacy_nuner.ConceptTagger.v1"
hidden_width = 0

[nuner_concepts.model.tok2vec]
@architectures = "spacy_nuner.Tok2VecBackbone.v1"
name = "numind/NuNER-v2.0"
pooling = {"@layers":"reduce_first.v1"}
"""
)


@Language.factory(
    "nuner_concepts",
    assigns=["doc.spans", "doc.ents"],
    default_config=DEFAULT_CONFIG["nuner_concepts"],
    default_score_weights={
        "spans_concepts_f": 0.5,
        "ents_f": 0.5,
        "spans_concepts_p": 0.0,
        "spans_concepts_r": 0.0,
    },
)
def make_nuner_concepts(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Floats2d]],
    backbone: str | None,
    concepts: list[str] | dict[str, str | None],
    names: dict[str, str],
    start: Literal["names", "zero"],
    spans_key: str,
    threshold: float | dict[str, float] | None,
    temperature: float,
    exclusive: bool,
    set_ents: bool,
    overwrite_ents: bool,
    rank_ents: Literal["score", "coverage"],
    keep_concept_encoder: bool,
    scorer: Callable[..., dict[str, Any]] | None,
) -> NunerConcepts:
    """Make a component that marks the spans of concepts.

    model (Model): From docs to logits of tokens, `spacy_nuner.ConceptTagger.v1`.
    backbone (str | None): The backbone of a component that has one of its own, and
        where its concept encoder is looked for. None: what the model's config names,
        or the backbone of the `transformer` that it listens to.
    concepts (list[str] | dict[str, str | None]): Concepts that a new component marks
        from the start, by name, or label and description; a saved one has its own.
    names (dict[str, str]): What labels are called, where the label itself does not
        tell: {"PROD_X": "product"}.
    start (str): Where the weights of a concept start: "names" is what the backbone's
        concept encoder makes of name and description, where it has one; "zero" knows
        nothing.
    spans_key (str): Where in `doc.spans` the spans are set, and where the annotation
        lies that it learns from.
    threshold (float | dict[str, float] | None): The probability over which a span
        belongs to a concept, for all or for each; not used with `exclusive`. None, and
        a concept that is not in the dict: 0.5.
    temperature (float): What logits are divided by before they become probabilities.
    exclusive (bool): A token belongs to one concept at most: softmax over the concepts
        and "none" instead of one sigmoid for each.
    set_ents (bool): Fill `doc.ents` too, and learn from `doc.ents`.
    overwrite_ents (bool): Whether entities that stand already are replaced.
    rank_ents (str): Which of spans that overlap becomes the entity: the one with the
        best "score", or with the best "coverage", which is the score times the number
        of tokens. By names alone coverage is better (docs/decisions.md).
    keep_concept_encoder (bool): Whether a saved pipeline holds the concept encoder, so
        that concepts can be added by name where the backbone is not; it makes the
        pipeline larger by the size of the encoder.
    scorer (Callable | None): The scoring method.
    RETURNS (NunerConcepts): The component.
    """
    return NunerConcepts(
        nlp.vocab,
        model,
        name,
        backbone=backbone,
        concepts=concepts,
        names=names,
        start=start,
        spans_key=spans_key,
        threshold=threshold,
        temperature=temperature,
        exclusive=exclusive,
        set_ents=set_ents,
        overwrite_ents=overwrite_ents,
        rank_ents=rank_ents,
        keep_concept_encoder=keep_concept_encoder,
        scorer=scorer,
    )
