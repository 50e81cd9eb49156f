"""Concepts that start from what a concept encoder makes of their names."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from thinc.api import Model

from ..errors import NunerError, message
from ..models.tagger import set_rows
from .prior import ConceptPrior, find_prior, readable_name


def load_prior(cfg: Mapping[str, Any], *, name: str) -> ConceptPrior | None:
    """Load the concept encoder of a backbone, if there is one and it is wanted.

    cfg (Mapping[str, Any]): Settings of a component: `start` and `backbone`.
    name (str): The name of the component.
    RETURNS (ConceptPrior | None): None, with warning W501, if the backbone can't be
        found: a saved pipeline works without it.
    """
    if cfg["start"] != "names" or cfg["backbone"] is None:
        return None
    try:
        folder = find_prior(cfg["backbone"])
    except NunerError as error:
        warnings.warn(message("W501", name=name, reason=error), stacklevel=4)
        return None
    return ConceptPrior(folder) if folder else None


def start_from_names(
    model: Model, labels: Sequence[str], prior: ConceptPrior, cfg: Mapping[str, Any]
) -> None:
    """Give concepts the weights that the concept encoder has for their names.

    model (Model): An initialized concept tagger; changed in place.
    labels (Sequence[str]): Which concepts.
    prior (ConceptPrior): The concept encoder.
    cfg (Mapping[str, Any]): Settings of the component: all its `labels`, their `names`
        where the label does not tell, their `descriptions`.
    """
    weights, biases = prior.get_weights(
        [cfg["names"].get(label) or readable_name(label) for label in labels],
        [cfg["descriptions"].get(label) for label in labels],
    )
    set_rows(model, [cfg["labels"].index(label) for label in labels], weights, biases)
