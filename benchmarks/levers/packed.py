"""The trained layers of BERT without padding, and what is kept of the frozen ones.

Only for the benchmark of levers: a step takes half the time of the library's, and
hundreds of them make a row.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Rows of a packed matrix are filled up to a multiple, or oneDNN compiles its product
# for each new shape.
MULTIPLE = 256
PIECES_AT_ONCE = 4096
BF16 = torch.bfloat16


class Packed(NamedTuple):
    """Rows of word pieces one behind another, sorted by length.

    states: *Shape:* (pieces, width)
    groups: For attention: rows, pieces of the longest, first and last piece, mask.
    order: Which row stands where. ends: The piece after each row's last.
    """

    states: Tensor
    groups: list[tuple[int, int, int, int, Tensor]]
    order: np.ndarray
    ends: np.ndarray


def pack(rows: Sequence[Tensor], n_groups: int) -> Packed:
    """Put rows of states together. *Shape:* (pieces, width) each"""
    order = np.argsort([len(row) for row in rows], kind="stable")
    lengths = np.array([len(rows[i]) for i in order])
    ends = np.cumsum(lengths)
    missing = -int(ends[-1]) % MULTIPLE
    filling = rows[0].new_zeros(missing, rows[0].shape[1])
    states = torch.cat([*(rows[i] for i in order), filling])
    groups = []
    for part in np.array_split(np.arange(len(order)), min(n_groups, len(order))):
        longest = int(lengths[part].max())
        mask = torch.arange(longest) < torch.from_numpy(lengths[part]).unsqueeze(1)
        first = int(ends[part[0]] - lengths[part[0]])
        groups.append((len(part), longest, first, int(ends[part[-1]]), mask))
    return Packed(states, groups, order, ends)


class Layer(nn.Module):
    """A layer of BERT in bf16; its weights stay in fp32."""

    def __init__(self, layer: Any, heads: int, dropout: float) -> None:
        super().__init__()
        own, out = layer.attention.self, layer.attention.output
        parts = own.query, own.key, own.value, out.dense
        self.query, self.key, self.value, self.dense = map(copy.deepcopy, parts)
        self.norm = copy.deepcopy(out.LayerNorm)
        self.up, self.down = map(
            copy.deepcopy, (layer.intermediate.dense, layer.output.dense)
        )
        self.out_norm = copy.deepcopy(layer.output.LayerNorm)
        self.heads, self.dropout = heads, dropout

    def forward(self, states: Tensor, groups: list[Any]) -> Tensor:
        query, key, value = (
            linear(part, states) for part in (self.query, self.key, self.value)
        )
        found = [self._attend(query, key, value, *group) for group in groups]
        filling = len(states) - sum(map(len, found))
        context = torch.cat([*found, states.new_zeros(filling, states.shape[1])])
        states = norm(self.norm, self._drop(linear(self.dense, context)) + states)
        inner = linear(self.down, F.gelu(linear(self.up, states)))
        return norm(self.out_norm, self._drop(inner) + states)

    def _drop(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training and self.dropout > 0)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rows: int,
        longest: int,
        first: int,
        last: int,
        mask: Tensor,
    ) -> Tensor:
        places = mask.flatten().nonzero()[:, 0]
        width = query.shape[1]

        def spread(values: Tensor) -> Tensor:
            padded = values.new_zeros(rows * longest, width)
            padded = padded.index_copy(0, places, values[first:last])
            return padded.view(rows, longest, self.heads, -1).transpose(1, 2).float()

        scores = spread(query) @ spread(key).transpose(-1, -2)
        scores = scores * (width // self.heads) ** -0.5
        scores = scores.masked_fill(~mask[:, None, None], -1e4)
        mixed = (scores.softmax(-1) @ spread(value)).transpose(1, 2)
        return mixed.reshape(rows * longest, width).to(BF16).index_select(0, places)


class Layers(nn.Module):
    """The top layers of an encoder."""

    def __init__(self, encoder: Any, first: int, dropout: float) -> None:
        super().__init__()
        heads = encoder.config.num_attention_heads
        self.first, self.middle = first, encoder.config.num_hidden_layers // 2
        chosen = encoder.encoder.layer[first:]
        self.layers = nn.ModuleList(Layer(one, heads, dropout) for one in chosen)

    def forward(self, packed: Packed) -> Tensor:
        """RETURNS (Tensor): *Shape:* (pieces, width)"""
        return self.both(packed)[1]

    def both(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """Run them.

        RETURNS (tuple[Tensor, Tensor]): What the middle layer gives, or the top frozen
            one where that is over it; and the last. *Shape:* (pieces, width) each
        """
        middle = states = packed.states
        for i, layer in enumerate(self.layers, start=self.first + 1):
            states = layer(states, packed.groups)
            if i == self.middle:
                middle = states
        return middle, states

    def write_to(self, encoder: Any) -> None:
        """Put the weights into an encoder of the same kind."""
        for ours, layer in zip(
            self.layers, encoder.encoder.layer[self.first :], strict=True
        ):
            own, out = layer.attention.self, layer.attention.output
            parts = {
                "query": own.query,
                "key": own.key,
                "value": own.value,
                "dense": out.dense,
                "norm": out.LayerNorm,
                "up": layer.intermediate.dense,
                "down": layer.output.dense,
                "out_norm": layer.output.LayerNorm,
            }
            for name, part in parts.items():
                part.load_state_dict(getattr(ours, name).state_dict())


@torch.inference_mode()
def run_frozen(
    encoder: Any, rows: Sequence[list[int]], layer: int, pad: int
) -> list[Tensor]:
    """Hidden states of a layer, in bf16. *Shape:* (pieces, width) each"""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: dict[int, Tensor] = {}
    while order:
        count = max(1, PIECES_AT_ONCE // len(rows[order[0]]) // 2)
        part, order = order[:count], order[count:]
        longest = max(len(rows[i]) for i in part)
        ids = torch.tensor([rows[i] + [pad] * (longest - len(rows[i])) for i in part])
        mask = torch.tensor([[j < len(rows[i]) for j in range(longest)] for i in part])
        with torch.autocast("cpu", BF16):
            output = encoder(
                input_ids=ids, attention_mask=mask.long(), output_hidden_states=True
            )
        for i, states in zip(part, output.hidden_states[layer], strict=True):
            found[i] = states[: len(rows[i])].to(BF16).clone()
    return [found[i] for i in range(len(rows))]


def linear(layer: nn.Linear, values: Tensor) -> Tensor:
    """A product in bf16."""
    return F.linear(values, layer.weight.to(BF16), layer.bias.to(BF16))


def norm(layer: nn.LayerNorm, values: Tensor) -> Tensor:
    """A norm in bf16."""
    weight, bias = layer.weight.to(BF16), layer.bias.to(BF16)
    return F.layer_norm(values, (values.shape[1],), weight, bias, layer.eps)
