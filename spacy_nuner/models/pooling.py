"""From vectors of word pieces to vectors of tokens, all docs of a batch at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from spacy_transformers.data_classes import TransformerData
from thinc.api import Model
from thinc.types import Floats2d, Ragged
from transformers.modeling_outputs import BaseModelOutput


def pool_pieces(
    pooling: Model[Ragged, Floats2d], grad_factor: float
) -> Model[list[TransformerData], list[Floats2d]]:
    """Pool the pieces of each token.

    The same as spacy-transformers' `trfs2arrays`, but with one operation for a batch
    instead of some for each doc.

    pooling (Model): From the ragged vectors of pieces to one vector a token.
    grad_factor (float): The gradient to the backbone is multiplied by this.
    RETURNS (Model): From the data of docs to one array for each.
        *Shape:* (n_tokens, width)
    """
    return Model(
        "pool-pieces", forward, layers=[pooling], attrs={"grad_factor": grad_factor}
    )


def forward(
    model: Model, datas: Sequence[TransformerData], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[TransformerData]]]:
    """Pool the pieces; docs without tokens get arrays without rows."""
    ops: Any = model.ops
    full = [data for data in datas if data.align.lengths.size]
    if not full:
        return [ops.alloc2f(0, 0) for _ in datas], lambda d_vectors: []
    # One row a window in stock backbones, one row a doc in ours: both lie flat.
    parts = [_vectors(data).reshape(-1, data.width) for data in full]
    n_pieces = [len(part) for part in parts]
    starts = np.cumsum([0, *n_pieces])
    rows = np.concatenate(
        [data.align.dataXd + start for data, start in zip(full, starts, strict=False)]
    )
    rows = ops.asarray1i(rows.astype("i"))
    lengths = np.concatenate([data.align.lengths for data in full]).astype("i")
    pieces = ops.flatten(parts)
    pooled, get_d_ragged = model.layers[0](
        Ragged(pieces[rows], ops.asarray1i(lengths)), is_train
    )
    counts: Any = np.asarray([len(data.align.lengths) for data in datas])

    def backprop(d_vectors: list[Floats2d]) -> list[TransformerData]:
        d_pooled = ops.xp.concatenate([d for d in d_vectors if len(d)])
        d_rows = get_d_ragged(d_pooled).dataXd * model.attrs["grad_factor"]
        d_pieces = ops.alloc2f(*pieces.shape)
        # Tokens without pieces of their own share one: gradients add up.
        ops.scatter_add(d_pieces, rows, d_rows)
        d_parts = ops.unflatten(d_pieces, np.asarray(n_pieces))
        return [
            TransformerData(
                wordpieces=data.wordpieces,
                model_output=as_output(d_part.reshape(_vectors(data).shape)),
                align=data.align,
            )
            for data, d_part in zip(full, d_parts, strict=True)
        ]

    return ops.unflatten(pooled, counts), backprop


def as_output(vectors: Any) -> Any:
    """Wrap vectors in the class that spacy-transformers hands around.

    vectors (Tensor or FloatsXd): The vectors, or their gradient.
    RETURNS (BaseModelOutput): With the vectors as `last_hidden_state`.
    """
    return BaseModelOutput(last_hidden_state=vectors)


def _vectors(data: TransformerData) -> Any:
    output: Any = data.model_output
    return output.last_hidden_state
