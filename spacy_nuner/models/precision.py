"""From padded windows to the hidden layers of an encoder, in fp32 or bf16."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from ..encoders.layers import has_fast_bf16

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


Precision = Literal["auto", "bf16", "fp32"]


class WindowBatch(NamedTuple):
    """Padded windows for one pass through the encoder.

    ids: Word pieces, special ones included. *Shape:* (windows, length)
    mask: 1 where a piece stands, 0 for padding. *Shape:* (windows, length)
    keep: Positions in the flattened batch whose vectors are wanted. *Shape:* (kept,)
    """

    ids: torch.Tensor
    mask: torch.Tensor
    keep: torch.Tensor


class HiddenLayers(nn.Module):
    """An encoder that hands on chosen hidden layers, concatenated, without padding."""

    def __init__(self, encoder: nn.Module, hidden_layers: Sequence[int]) -> None:
        """encoder (nn.Module): The encoder. hidden_layers (Sequence[int]): Indices
        into its hidden states, -1 for the last.
        """
        super().__init__()
        self.encoder = encoder
        self.hidden_layers = list(hidden_layers)
        # Times that somebody wrote into the memory of the weights, unseen by torch.
        # torch's own count is no place for it: `nlp.update` steps between the passes
        # of components that share an encoder, and autograd refuses what was counted.
        self.unseen_changes = 0

    def forward(
        self, batches: Sequence[WindowBatch], order: torch.Tensor
    ) -> torch.Tensor:
        """Run the batches and bring the vectors into the order of the docs.

        batches (Sequence[WindowBatch]): The input.
        order (Tensor): For each piece of the docs its row in the batches' kept rows.
            *Shape:* (pieces,)
        RETURNS (Tensor): *Shape:* (pieces, width * hidden layers)
        """
        kept = []
        for batch in batches:
            output = self.encoder(
                input_ids=batch.ids,
                attention_mask=batch.mask,
                output_hidden_states=self.hidden_layers != [-1],
                return_dict=True,
            )
            # Some architectures norm the last layer only in last_hidden_state.
            states = [
                output.last_hidden_state if i == -1 else output.hidden_states[i]
                for i in self.hidden_layers
            ]
            flat = [state.reshape(-1, state.shape[-1])[batch.keep] for state in states]
            kept.append(torch.cat(flat, dim=-1))
        return torch.cat(kept)[order]


class HalfCopy:
    """A copy of a module in bf16 for prediction, made when it is first asked for and
    again when the weights have changed.

    Only parameters are cast: buffers such as rotary frequencies need their precision.
    torch computes norms, softmax and sums of products of bf16 tensors in fp32.
    """

    def __init__(self) -> None:
        self._copy: nn.Module | None = None
        self._version: object = None

    def get(self, module: nn.Module) -> nn.Module:
        """Get the copy of a module.

        module (nn.Module): In fp32, always the same one.
        RETURNS (nn.Module): In bf16, in evaluation mode, with the same weights.
        """
        version = weights_version(module)
        if self._copy is None or version != self._version:
            # What deepcopy finds in its memo it takes for copied: no second fp32 copy.
            cast: dict[int, nn.Parameter] = {}
            for parameter in module.parameters():
                half = parameter.detach().to(torch.bfloat16)
                cast[id(parameter)] = nn.Parameter(half, requires_grad=False)
            self._copy = copy.deepcopy(module, cast).eval()
            pack_linears(self._copy)
            self._version = version
        return self._copy

    def __reduce__(self) -> tuple[type["HalfCopy"], tuple[()]]:
        # A copy or pickle makes its own when it needs one.
        return HalfCopy, ()


def weights_version(module: nn.Module) -> object:
    """Tell one state of the weights from another, without reading them.

    module (nn.Module): The module.
    RETURNS (object): Differs after a change that torch knows of; who changes the
        memory of a weight behind its back has to count it in `unseen_changes`.
    """
    seen = tuple((p.data_ptr(), p._version) for p in module.parameters())
    return getattr(module, "unseen_changes", 0), seen


def use_bf16(precision: Precision, device: torch.device) -> bool:
    """Tell in which precision to predict.

    precision (str): "auto" is bf16 on a processor that multiplies it faster than fp32,
        else fp32.
    device (torch.device): Where the encoder is.
    RETURNS (bool): True for bf16, False for fp32.
    """
    if precision == "auto":
        return device.type == "cpu" and has_fast_bf16(on_cpu=True)
    return precision == "bf16"
