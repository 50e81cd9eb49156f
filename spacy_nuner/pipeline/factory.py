"""The factories of `nuner_concepts` and `nuner_ner`."""

from collections.abc import Callable
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config, Model
from thinc.types import Floats2d

from .labels import LabelSettings, check_config
from .nuner_concepts import NunerConcepts
from .nuner_ner import NunerNer

TOK2VEC = Config().from_str(
    """
[tok2vec]
@architectures = "spacy_nuner.Tok2VecBackbone.v1"
name = "default"
# The encoder's share of the optimizer's rate, as in configs/ner.cfg: at the full rate,
# 0.001 where none is set, a step of `nlp.update` spoils what the encoder has learned.
learn_rate_scale = 0.05
pooling = {"@layers":"reduce_first.v1"}
"""
)["tok2vec"]


@Language.factory(
    "nuner_concepts",
    assigns=["doc.spans"],
    default_config={
        "model": {
            "@architectures": "spacy_nuner.ConceptTagger.v1",
            "tok2vec": TOK2VEC,
        },
        "backbone": None,
        "labels": [],
        "spans_key": "concepts",
        "threshold": None,
        "annotate_ents": False,
        "overwrite": False,
        "keep_concept_encoder": False,
        "scorer": {"@scorers": "spacy_nuner.concepts_scorer.v1"},
    },
    default_score_weights={
        "spans_concepts_f": 1.0,
        "spans_concepts_p": 0.0,
        "spans_concepts_r": 0.0,
        "spans_concepts_per_type": None,
    },
)
def make_nuner_concepts(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Floats2d]],
    backbone: str | None,
    labels: LabelSettings,
    spans_key: str,
    threshold: float | dict[str, float] | None,
    annotate_ents: bool,
    overwrite: bool,
    keep_concept_encoder: bool,
    scorer: Callable[..., dict[str, Any]] | None,
) -> NunerConcepts:
    """Make a component that marks spans; their labels are independent of each other.

    It writes `doc.spans[spans_key]` and learns from it.

    model (Model): From docs to logits of tokens, `spacy_nuner.ConceptTagger.v1`.
    backbone (str | None): The backbone of a component that has one of its own, and
        where its concept encoder is looked for. None: what the model's config names,
        or the backbone of the `transformer` that it listens to.
    labels (LabelSettings): What a new component looks for: a list of labels or of
        {"label", "name", "description"}, or label -> description, or label -> {"name",
        "description"}; in a config labels with ":", "=", "#", "@" and the like can't
        be keys, so they need a list. What a label means to the backbone is read from
        its name, else from the label itself, and its description. A label without an
        example is not trained, unless `initialize` finds 5,000 annotated words without
        one. A saved component has the labels that it was saved with.
    spans_key (str): Where in `doc.spans` the spans are set, and where the annotation
        lies that it learns from.
    threshold (float | dict[str, float] | None): The probability over which a span
        belongs to a label, for all or for each. None, and a label that is not in the
        dict: 0.5. Thresholds of single labels that were set on the component are saved
        with it, and hold until this setting is changed.
    annotate_ents (bool): Fill `doc.ents` too: of spans that overlap the one with the
        best score times number of tokens.
    overwrite (bool): Whether entities that a doc has already are replaced.
    keep_concept_encoder (bool): Whether a saved pipeline holds the concept encoder, so
        that labels can be added by name where the backbone is not; it makes the
        pipeline larger by the size of the encoder.
    scorer (Callable | None): The scoring method.
    RETURNS (NunerConcepts): The component.
    RAISES (NunerError): N512 if a config can't hold labels, thresholds or the key, N514
        for a model with boundaries.
    """
    check_config(name, "labels", labels)
    check_config(name, "spans_key", spans_key)
    check_config(name, "threshold", threshold)
    return NunerConcepts(
        nlp.vocab,
        model,
        name,
        backbone=backbone,
        labels=labels,
        spans_key=spans_key,
        threshold=threshold,
        annotate_ents=annotate_ents,
        overwrite=overwrite,
        keep_concept_encoder=keep_concept_encoder,
        scorer=scorer,
    )


@Language.factory(
    "nuner_ner",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": {"@architectures": "spacy_nuner.EntityTagger.v1", "tok2vec": TOK2VEC},
        "backbone": None,
        "labels": [],
        "overwrite": False,
        "keep_concept_encoder": False,
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={
        "ents_f": 1.0,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
    },
)
def make_nuner_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Floats2d]],
    backbone: str | None,
    labels: LabelSettings,
    overwrite: bool,
    keep_concept_encoder: bool,
    scorer: Callable[..., dict[str, Any]] | None,
) -> NunerNer:
    """Make a named entity recogniser: one label a token at most.

    It writes `doc.ents` and learns from it; the entities that it found are in
    `doc.spans[NAME]` too, with their scores in `attrs["scores"]`; NAME is the name of
    the component.

    model (Model): From docs to logits of tokens, `spacy_nuner.EntityTagger.v1`; with
        `spacy_nuner.ConceptTagger.v1` and a `tok2vec` of its own neighbouring entities
        of a label are always one.
    backbone (str | None): As for `nuner_concepts`.
    labels (LabelSettings): As for `nuner_concepts`.
    overwrite (bool): Whether entities that a doc has already are replaced; else they
        stay, and what overlaps them is left out.
    keep_concept_encoder (bool): As for `nuner_concepts`.
    scorer (Callable | None): The scoring method.
    RETURNS (NunerNer): The component.
    RAISES (NunerError): N512 if a config can't hold the labels.
    """
    check_config(name, "labels", labels)
    return NunerNer(
        nlp.vocab,
        model,
        name,
        backbone=backbone,
        labels=labels,
        overwrite=overwrite,
        keep_concept_encoder=keep_concept_encoder,
        scorer=scorer,
    )
