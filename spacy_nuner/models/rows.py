"""Arrays of docs that lie in one array, so that none is copied to join them."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import is_
from typing import Any

import numpy as np
from thinc.api import Model, Ops, with_array
from thinc.types import Floats2d


class SplitRows(list[Floats2d]):
    """Arrays of docs that remember the one array that they are parts of."""

    def __init__(self, whole: Floats2d, counts: Sequence[int]) -> None:
        """whole (Floats2d): The rows of all docs. *Shape:* (rows, width)

        counts (Sequence[int]): The number of rows of each doc.
        """
        ends = np.cumsum(counts).tolist()
        parts = zip(ends, counts, strict=True)
        super().__init__(whole[end - count : end] for end, count in parts)
        self._whole = whole
        self._parts = tuple(self)

    @property
    def whole(self) -> Floats2d | None:
        """All rows, not to be written to; None if other arrays were put into the list.

        *Shape:* (rows, width)
        """
        same = len(self) == len(self._parts) and all(map(is_, self, self._parts))
        return self._whole if same else None

    def __reduce__(self) -> Any:
        # A copy would remember an array that its parts are no longer parts of.
        return list, (list(self),)


def join_rows(ops: Ops, arrays: Sequence[Floats2d], width: int) -> Any:
    """Bring arrays of docs together on the processor.

    ops (Ops): Of the device; where the arrays lie is of no matter.
    arrays (Sequence[Floats2d]): *Shape:* (rows, width) each, any width without rows
    width (int): Also where there are no rows.
    RETURNS (ndarray): Not to be written to. *Shape:* (all rows, width)
    """
    whole = arrays.whole if isinstance(arrays, SplitRows) else None
    if whole is not None:
        return ops.to_numpy(whole)
    filled = [ops.to_numpy(array) for array in arrays if len(array)]
    return np.concatenate([np.zeros((0, width), dtype="f"), *filled])


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
    whole = arrays.whole if isinstance(arrays, SplitRows) else None
    if is_train or whole is None:
        result: tuple[list[Floats2d], Callable[[list[Floats2d]], list[Floats2d]]]
        result = learn(model, arrays, is_train)
        return result
    rows = model.layers[0].predict(whole)
    return SplitRows(rows, [len(array) for array in arrays]), lambda d_rows: d_rows
