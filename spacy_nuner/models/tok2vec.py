"""`spacy_nuner.Tok2VecBackbone.v1`: a backbone inside one component."""

from spacy.tokens import Doc
from spacy_transformers.layers.split_trf import split_trf_batch
from thinc.api import Model, chain
from thinc.types import Floats2d, Ragged

from .backbone import create_backbone
from .encoding import Precision
from .pooling import pool_pieces


def create_tok2vec(
    name: str,
    pooling: Model[Ragged, Floats2d],
    grad_factor: float = 1.0,
    hidden_layers: list[int] | None = None,
    freeze_layers: int = 0,
    freeze_embeddings: bool = True,
    learn_rate_scale: float | list[float] = 1.0,
    window: int | None = None,
    stride: int | None = None,
    max_batch_pieces: int = 2048,
    max_cached_pieces: int = 100_000,
    precision: Precision = "auto",
) -> Model[list[Doc], list[Floats2d]]:
    """Use a backbone inside one component, shared with no other.

    pooling (Model): How the vectors of a token's word pieces become one.
    grad_factor (float): The gradient to the backbone is multiplied by this.
    name and all others: As in `spacy_nuner.Backbone.v1`.
    RETURNS (Model): From docs to one array for each. *Shape:* (n_tokens, width times
        the number of hidden layers)
    """
    backbone = create_backbone(
        name=name,
        hidden_layers=hidden_layers,
        freeze_layers=freeze_layers,
        freeze_embeddings=freeze_embeddings,
        learn_rate_scale=learn_rate_scale,
        window=window,
        stride=stride,
        max_batch_pieces=max_batch_pieces,
        max_cached_pieces=max_cached_pieces,
        precision=precision,
    )
    # The same nesting as a listener has after `nlp.replace_listeners`.
    return chain(chain(backbone, split_trf_batch()), pool_pieces(pooling, grad_factor))
