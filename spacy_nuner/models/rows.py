"""Rows of docs that lie in one array: cut apart and joined without copying them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from thinc.api import Model, Ops, with_array
from thinc.types import Floats2d


class SplitRows(list[Floats2d]):
    """Arrays of docs, and the one array that they are parts of."""

    def __init__(self, whole: Floats2d, counts: Sequence[int]) -> None:
        """whole (Floats2d): The rows of all docs. *Shape:* (rows, width)

        counts (Sequence[int]): The number of rows of each doc.
        """
        ends = np.cumsum(counts).tolist()
        parts = zip(ends, counts, strict=True)
        super().__init__(whole[end - count : end] for end, count in parts)
        self.whole = whole


def join_rows(ops: Ops, arrays: Sequence[Floats2d], width: int) -> Floats2d:
    """Join what may have been split before.

    ops (Ops): Of the device.
    arrays (Sequence[Floats2d]): Arrays of docs. *Shape:* (rows, width) each
    width (int): Their width, also where there are none.
    RETURNS (Floats2d): Not to be written to. *Shape:* (all rows, width)
    """
    if isinstance(arrays, SplitRows):
        return arrays.whole
    # Those of docs without tokens may be of any width.
    filled = [array for array in arrays if len(array)]
    return ops.xp.concatenate(filled) if filled else ops.alloc2f(0, width)


def with_rows(
    layer: Model[Floats2d, Floats2d],
) -> Model[list[Floats2d], list[Floats2d]]:
    """Apply a layer to the rows of all docs, as thinc's `with_array` does.

    layer (Model): From rows to rows.
    RETURNS (Model): From arrays of docs to arrays of docs, in prediction without
        copying them.
    """
    array: Model[Any, Any] = with_array(layer)
    return Model(
        array.name,
        partial(forward, learn=array._func),
        init=array.init,
        layers=array.layers,
        attrs=dict(array.attrs),
        dims={name: layer.maybe_get_dim(name) for name in layer.dim_names},
    )


def forward(
    model: Model[Any, Any],
    arrays: list[Floats2d],
    is_train: bool,
    *,
    learn: Callable[..., Any],
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Floats2d]]]:
    """Apply the layer to the array that the docs share, if they share one."""
    if is_train or not isinstance(arrays, SplitRows):
        result: tuple[list[Floats2d], Callable[[list[Floats2d]], list[Floats2d]]]
        result = learn(model, arrays, is_train)
        return result
    rows = model.layers[0].predict(arrays.whole)
    return SplitRows(rows, [len(array) for array in arrays]), lambda d_rows: d_rows
