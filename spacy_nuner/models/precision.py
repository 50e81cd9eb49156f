"""From padded windows to the hidden layers of an encoder, in fp32, bf16 or int8."""

import copy
import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..encoders.layers import has_fast_bf16
from ..errors import Warnings
from .linear import FilledLinear, Int8Linear, count_levels

Precision = Literal["auto", "bf16", "fp32", "int8"]
# Where torch counts how often a tensor was written to: no public name, but as old as
# torch, which goes by it in `backward`.
COUNTER = "_version"
# Word pieces whose passes are kept for the gradient: some 1 GB with all-MiniLM-L6-v2.
MOST_KEPT = 4096


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
        # To learn from long documents each pass is computed again for its gradient.
        size = sum(batch.ids.numel() for batch in batches)
        again = torch.is_grad_enabled() and size > MOST_KEPT
        vectors = [
            checkpoint(self._run, batch, use_reentrant=False)
            if again
            else self._run(batch)
            for batch in batches
        ]
        return torch.cat(vectors)[order]

    def _run(self, batch: WindowBatch) -> torch.Tensor:
        """The vectors of the pieces that are kept. *Shape:* (kept, width * layers)"""
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
        return torch.cat(flat, dim=-1)


class PredictionCopy:
    """A copy of a module for prediction, in bf16 or int8, made when it is first asked
    for and again when the weights have changed.

    In bf16 only parameters are cast: buffers such as rotary frequencies need their
    precision. torch computes norms, softmax and sums of products of bf16 tensors in
    fp32. In int8 only linear layers are computed; the copy shares all parameters with
    the module, and has the rounded weights of these layers besides.
    """

    def __init__(self) -> None:
        # One attribute, since threads may look and set at once.
        self._made: tuple[object, nn.Module] | None = None

    def get(
        self, module: nn.Module, precision: Literal["bf16", "int8"] = "bf16"
    ) -> nn.Module:
        """Get the copy of a module.

        module (nn.Module): In fp32, always the same one.
        precision (str): "bf16" or "int8".
        RETURNS (nn.Module): In evaluation mode, with the same weights.
        """
        version = precision, weights_version(module)
        if self._made is None or self._made[0] != version:
            make = copy_in_bf16 if precision == "bf16" else copy_in_int8
            made = make(module)
            self._made = version, made
            return made
        return self._made[1]

    def __reduce__(self) -> tuple[type["PredictionCopy"], tuple[()]]:
        # A copy or pickle makes its own when it needs one.
        return PredictionCopy, ()


def copy_in_bf16(module: nn.Module) -> nn.Module:
    """Copy a module with its parameters in bf16.

    module (nn.Module): In fp32.
    RETURNS (nn.Module): In evaluation mode.
    """
    # What deepcopy finds in its memo it takes for copied: no second fp32 copy.
    halves: dict[int, nn.Parameter] = {}
    for parameter in module.parameters():
        half = parameter.detach().to(torch.bfloat16)
        halves[id(parameter)] = nn.Parameter(half, requires_grad=False)
    copied = copy.deepcopy(module, halves).eval()
    for layer in _linear_layers(copied):
        if layer.weight.device.type == "cpu":
            layer.__class__ = FilledLinear
    return copied


def copy_in_int8(module: nn.Module) -> nn.Module:
    """Copy a module, linear layers in int8, all parameters shared.

    module (nn.Module): In fp32, on the processor.
    RETURNS (nn.Module): In evaluation mode.
    """
    shared = {id(parameter): parameter for parameter in module.parameters()}
    copied = copy.deepcopy(module, shared).eval()
    for layer in _linear_layers(copied):
        layer.__class__ = Int8Linear
        cast(Int8Linear, layer).quantize()
    return copied


def _linear_layers(module: nn.Module) -> list[nn.Module]:
    # Subclasses are there because something reads their weights.
    return [layer for layer in module.modules() if type(layer) is nn.Linear]


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


def choose_precision(
    precision: Precision, device: torch.device
) -> Literal["bf16", "fp32", "int8"]:
    """Tell in which precision to predict.

    precision (str): "auto" is bf16 on a processor that multiplies it faster than fp32,
        else fp32. "int8" is fp32, with a warning, where it can't be had.
    device (torch.device): Where the encoder is.
    RETURNS (str): "bf16", "fp32" or "int8".
    """
    on_cpu = device.type == "cpu"
    if precision == "auto":
        return "bf16" if on_cpu and has_fast_bf16(on_cpu=True) else "fp32"
    if precision == "int8" and not (on_cpu and count_levels()):
        found = "this torch has none" if on_cpu else f"the backbone is on {device.type}"
        warnings.warn(Warnings.W401.format(found=found), stacklevel=2)
        return "fp32"
    return precision
