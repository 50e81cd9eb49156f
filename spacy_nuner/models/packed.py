"""Linear layers whose weights lie as the processor's kernels read them."""

from typing import Any

import torch
from torch import nn

from ..encoder import has_fast_bf16

# oneDNN compiles a product for each number of rows, and keeps a thousand of them, some
# half a megabyte each: so rows are filled up to a multiple, of few rows to a small one.
ROWS = 128
FEW_ROWS = 16


class PackedLinear(nn.Module):
    """Computes what a linear layer in bf16 computes, bit for bit, but faster.

    torch brings the weights of a linear layer into the order of oneDNN's kernels at
    each call. Here it is done once, as torch.compile does it for frozen weights.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """linear (nn.Linear): In bf16, on the processor."""
        super().__init__()
        self.bias = linear.bias
        self.weight: Any = torch.ops.mkldnn._reorder_linear_weight(linear.weight)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Multiply by the weights and add the biases.

        X (Tensor): *Shape:* (..., nI)
        RETURNS (Tensor): *Shape:* (..., nO)
        """
        rows = X.reshape(-1, X.shape[-1])
        filled = fill_rows(rows)
        # No activation, so the last three arguments say nothing.
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            filled, self.weight, self.bias, "none", [], ""
        )
        return result[: len(rows)].view(*X.shape[:-1], result.shape[-1])


def fill_rows(X: torch.Tensor) -> torch.Tensor:
    """Append rows of zeros, so that few numbers of rows occur.

    X (Tensor): *Shape:* (rows, width)
    RETURNS (Tensor): Up to 128 rows a multiple of 16, above one of 128.
        *Shape:* (as many rows or more, width)
    """
    missing = -len(X) % (ROWS if len(X) > ROWS else FEW_ROWS)
    # Even with nothing to append, `pad` makes a copy.
    return nn.functional.pad(X, (0, 0, 0, missing)) if missing else X


def pack_linears(module: nn.Module) -> None:
    """Replace the linear layers in a module that only predicts.

    module (nn.Module): In bf16; changed in place. On a GPU, or a processor without
        fast bf16, nothing is changed.
    """
    on_cpu = all(p.device.type == "cpu" for p in module.parameters())
    if on_cpu and torch.backends.mkldnn.is_available() and has_fast_bf16(on_cpu=True):
        for parent in list(module.modules()):
            for name, child in list(parent.named_children()):
                # Subclasses are there because something reads their weights.
                if type(child) is nn.Linear:
                    setattr(parent, name, PackedLinear(child))
