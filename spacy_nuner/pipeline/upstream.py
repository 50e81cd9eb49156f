"""Which backbone a component reads."""

from typing import Any

from spacy.language import Language
from spacy_transformers.layers import TransformerListener
from thinc.api import Model

from ..models.backbone import find_backbone


def find_listener(model: Model) -> Any:
    """Look for a listener in a model.

    model (Model): The model of a component.
    RETURNS (TransformerListener | None): The first one, None if it has a backbone of
        its own.
    """
    nodes = (node for node in model.walk() if isinstance(node, TransformerListener))
    return next(nodes, None)


def find_shared_name(model: Model, name: str, nlp: Language) -> str | None:
    """Tell which backbone a component listens to.

    model (Model): The model of the component.
    name (str): The name of the component.
    nlp (Language): The pipeline that it is in.
    RETURNS (str | None): The name of the last matching backbone before the component;
        None if there is none of ours.
    """
    listener = find_listener(model)
    found = None
    # Disabled ones count: `spacy train` disables frozen and sourced components while
    # it initializes the others.
    for other, pipe in nlp.components:
        if other == name:
            break
        backbone = find_backbone(getattr(pipe, "model", None))
        upstream = getattr(listener, "upstream_name", "*")
        if backbone is not None and upstream in ("*", other):
            found = str(backbone.attrs["name"])
    return found
