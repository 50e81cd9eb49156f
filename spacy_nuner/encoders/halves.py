"""An encoder in two parts: the frozen bottom, and what is trained on top of it.

The bottom gives the same for a row in every epoch, so it can be computed once. Masks,
relative positions and all else that an architecture makes of its inputs are still made
by its own `forward`: the embeddings and the list of layers are changed for the call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .layers import encoder_layers


class _GivenStates(nn.Module):
    """Stands where the embeddings stood and gives hidden states computed before."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.states


def run_bottom(encoder: Any, frozen: int, inputs: dict[str, Tensor]) -> Tensor:
    """Compute the hidden states that the first trained layer reads.

    encoder (PreTrainedModel): An encoder of the transformers library.
    frozen (int): Its frozen layers; at least one.
    inputs (dict[str, Tensor]): input_ids and attention_mask. *Shape:* (batch, seq)
    RETURNS (Tensor): What the top frozen layer gives. *Shape:* (batch, seq, width)
    """
    found = []
    layers = encoder_layers(encoder)
    # Some architectures have layers that return a tuple with the states in front.
    hook = layers[frozen - 1].register_forward_hook(
        lambda layer, args, output: found.append(
            output[0] if isinstance(output, tuple) else output
        )
    )
    try:
        with _layers(encoder, slice(frozen)):
            encoder(**inputs)
    finally:
        hook.remove()
    return found[0]


def run_top(
    encoder: Any, frozen: int, inputs: dict[str, Tensor], states: Tensor
) -> Tensor:
    """Compute the last hidden states from those that the first trained layer reads.

    encoder (PreTrainedModel): The encoder that `run_bottom` was called with.
    frozen (int): Its frozen layers.
    inputs (dict[str, Tensor]): The inputs of that call, with any padding.
    states (Tensor): What it returned. *Shape:* (batch, seq, width)
    RETURNS (Tensor): The last hidden states. *Shape:* (batch, seq, width)
    """
    embeddings = encoder.embeddings
    with _layers(encoder, slice(frozen, None)):
        try:
            encoder.embeddings = _GivenStates(states)
            return encoder(**inputs).last_hidden_state
        finally:
            encoder.embeddings = embeddings


@torch.no_grad()
def can_split(encoder: Any, frozen: int, inputs: dict[str, Tensor]) -> bool:
    """Tell by example whether both parts together are the encoder.

    They are not if something besides embeddings and layers takes part, such as the
    convolution beside the first layer of some DeBERTa.

    encoder (PreTrainedModel): The encoder, in evaluation mode.
    frozen (int): Its frozen layers.
    inputs (dict[str, Tensor]): Some rows. *Shape:* (batch, seq)
    RETURNS (bool): Whether the same comes out.
    """
    if not frozen or not isinstance(getattr(encoder, "embeddings", None), nn.Module):
        return False
    whole = encoder(**inputs).last_hidden_state
    states = run_bottom(encoder, frozen, inputs)
    parts = run_top(encoder, frozen, inputs, states)
    real = inputs["attention_mask"].bool()
    return torch.allclose(parts[real], whole[real], atol=1e-4, rtol=1e-3)


@contextmanager
def _layers(encoder: nn.Module, chosen: slice) -> Iterator[None]:
    """Let an encoder have no other layers than these."""
    layers = encoder_layers(encoder)
    whole = layers._modules
    some = {str(i): layer for i, layer in enumerate(list(layers)[chosen])}
    layers._modules = some
    try:
        yield
    finally:
        layers._modules = whole
