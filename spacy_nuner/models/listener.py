"""`spacy_nuner.BackboneListener.v1`: the backbone's vectors for one component."""

from typing import Any

from spacy.tokens import Doc
from spacy_transformers.layers import TransformerListener
from spacy_transformers.layers.split_trf import split_trf_batch
from thinc.api import Model, chain
from thinc.types import Floats2d, Ragged

from .pooling import pool_pieces


def build_listener(
    pooling: Model[Ragged, Floats2d], grad_factor: float = 1.0, upstream: str = "*"
) -> Model[list[Doc], list[Floats2d]]:
    """Connect a component to the backbone of a `transformer` earlier in the pipeline.

    pooling (Model): How the vectors of a token's word pieces become one, such as
        "reduce_first.v1" or "reduce_mean.v1".
    grad_factor (float): The gradient to the backbone is multiplied by this; 0 keeps
        this component from changing it. It is no learning rate: Adam does not feel a
        constant factor. See `learn_rate_scale` of the backbone for that.
    upstream (str): Name of the `transformer` component, "*" for any.
    RETURNS (Model): From docs to one array for each. *Shape:* (n_tokens, width times
        the number of hidden layers that the backbone hands on)
    """
    listener = TransformerListener(upstream_name=upstream)
    model: Model = chain(listener, pool_pieces(pooling, grad_factor))
    model.set_ref("listener", listener)
    return model


def replace_listener(model: Model) -> Model:
    """Wrap a copy of the backbone so that it can replace a listener."""
    return chain(model, split_trf_batch())


def replace_listener_cfg(
    backbone_cfg: dict[str, Any], listener_cfg: dict[str, Any]
) -> dict[str, Any]:
    """Write the config of a listener that was replaced by a copy of the backbone."""
    result = {**backbone_cfg, "@architectures": "spacy_nuner.Tok2VecBackbone.v1"}
    for key in ("pooling", "grad_factor"):
        if key in listener_cfg:
            result[key] = listener_cfg[key]
    return result
