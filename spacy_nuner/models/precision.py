"""From padded windows to the hidden layers of an encoder, in fp32 or bf16."""

import copy
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn

from ..encoders.layers import has_fast_bf16

Precision = Literal["auto", "bf16", "fp32"]
# Where torch counts how often a tensor was written to: no public name, but as old as
# torch, which goes by it in `backward`.
COUNTER = "_version"
# Products have a multiple of so many rows, up to 128 one of few rows. Larger ones take
# longer, smaller ones leave more kernels in memory (docs/decisions.md).
ROWS = 32
FEW_ROWS = 16


class WindowBatch(NamedTuple):
    """Padded windows for one pass through the encoder.

    ids: Word pieces, special ones included. *Shape:* (windows, length)
    mask: 1 for a piece, 0 for padding. *Shape:* (windows, length)
    keep: Positions in the flattened batch whose vectors are wanted. *Shape:* (kept,)
    """

    ids: torch.Tensor
    mask: torch.Tensor
    keep: torch.Tensor


class HiddenLayers(nn.Module):
    """An encoder that hands on chosen hidden layers, concatenated, without padding."""

    def __init__(self, encoder: nn.Module, hidden_layers: Sequence[int]) -> None:
        """encoder (nn.Module): The encoder.

        hidden_layers (Sequence[int]): Indices into its hidden states, -1 for the last.
        """
        super().__init__()
        self.encoder = encoder
        self.hidden_layers = list(hidden_layers)
        # Times that somebody wrote into the memory of the weights, unseen by torch. Not
        # added to torch's own count: `nlp.update` steps between the passes of
        # components that share an encoder, and autograd refuses what was counted.
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
        vectors = []
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
            vectors.append(torch.cat(flat, dim=-1))
        return torch.cat(vectors)[order]


class FilledLinear(nn.Linear):
    """A linear layer that hands few numbers of rows to the kernels.

    oneDNN compiles a product in bf16 for each number of rows and caches a thousand of
    them, some half a megabyte each. So rows of zeros are appended up to a multiple.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by the weights and add the biases.

        input (Tensor): *Shape:* (..., nI)
        RETURNS (Tensor): *Shape:* (..., nO)
        """
        rows = input.reshape(-1, input.shape[-1])
        missing = -len(rows) % (ROWS if len(rows) > 128 else FEW_ROWS)
        # Even with nothing to append, `pad` makes a copy.
        filled = nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows
        output = super().forward(filled)[: len(rows)]
        return output.view(*input.shape[:-1], output.shape[-1])


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
            for layer in self._copy.modules():
                # Subclasses are there because something reads their weights.
                if type(layer) is nn.Linear and layer.weight.device.type == "cpu":
                    layer.__class__ = FilledLinear
            self._version = version
        return self._copy

    def __reduce__(self) -> tuple[type["HalfCopy"], tuple[()]]:
        # A copy or pickle makes its own when it needs one.
        return HalfCopy, ()


def weights_version(module: nn.Module) -> object:
    """Tell one state of the weights from another, without reading them.

    module (nn.Module): The module.
    RETURNS (object): Differs after a change that torch knows of; who changes the
        memory of a weight behind its back has to count it in `unseen_changes`. Where
        torch does not count changes it always differs.
    """
    try:
        seen = tuple((p.data_ptr(), getattr(p, COUNTER)) for p in module.parameters())
    except AttributeError:
        return object()
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
