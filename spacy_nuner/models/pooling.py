"""From vectors of word pieces to vectors of tokens, all docs of a batch at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from spacy_transformers.data_classes import TransformerData
from thinc.api import Model
from thinc.types import Floats2d, Ragged
from transformers.modeling_outputs import BaseModelOutput

from .rows import SplitRows


def pool_pieces(
    pooling: Model[Ragged, Floats2d], grad_factor: float
) -> Model[list[TransformerData], list[Floats2d]]:
    """Pool the pieces of each token.

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
    pooling = model.layers[0]
    full = [data for data in datas if data.align.lengths.size]
    if not full:
        return [model.ops.alloc2f(0, 0) for _ in datas], lambda d_vectors: []
    pieces, flat, lengths = _join(model, full)
    counts = [len(data.align.lengths) for data in datas]
    if pooling.name == "reduce_first" and not is_train:
        # Without a copy of the pieces that don't count.
        first = pieces[flat[lengths.cumsum() - lengths]]
        return SplitRows(first, counts), lambda d_vectors: []
    pooled, get_d_ragged = pooling(Ragged(pieces[flat], lengths), is_train)
    vectors = SplitRows(pooled, counts)

    def backprop(d_vectors: list[Floats2d]) -> list[TransformerData]:
        d_pooled = model.ops.xp.concatenate([d for d in d_vectors if len(d)])
        d_rows = get_d_ragged(d_pooled).dataXd * model.attrs["grad_factor"]
        d_pieces = model.ops.alloc2f(*pieces.shape)
        # Tokens without pieces of their own share one: gradients add up.
        model.ops.scatter_add(d_pieces, flat, d_rows)
        return _split(d_pieces, full)

    return vectors, backprop


def as_output(vectors: Any) -> Any:
    """Wrap vectors in the class that spacy-transformers hands around.

    vectors (Tensor or FloatsXd): The vectors, or their gradient.
    RETURNS (BaseModelOutput): With the vectors as `last_hidden_state`.
    """
    return BaseModelOutput(last_hidden_state=vectors)


def _join(model: Model, datas: Sequence[TransformerData]) -> tuple[Any, Any, Any]:
    xp = model.ops.xp
    # One row a window in stock backbones, one row a doc in ours: both lie flat.
    parts: list[Any] = [_vectors(d).reshape(-1, d.width) for d in datas]
    starts = np.cumsum([0, *map(len, parts)])
    flat: Any = np.concatenate(
        [d.align.dataXd + start for d, start in zip(datas, starts, strict=False)]
    )
    lengths: Any = np.concatenate([d.align.lengths for d in datas])
    return (
        xp.concatenate(parts),
        model.ops.asarray1i(flat.astype("i")),
        model.ops.asarray1i(lengths.astype("i")),
    )


def _split(d_pieces: Floats2d, datas: Sequence[TransformerData]) -> Any:
    out, start = [], 0
    for data in datas:
        shape = _vectors(data).shape
        end = start + shape[0] * shape[1]
        gradient = as_output(d_pieces[start:end].reshape(shape))
        out.append(
            TransformerData(
                wordpieces=data.wordpieces, model_output=gradient, align=data.align
            )
        )
        start = end
    return out


def _vectors(data: TransformerData) -> Any:
    output: Any = data.model_output
    return output.last_hidden_state
