"""Linear layers of the copies that predict: in bf16, and in int8."""

import functools

import torch
from torch import nn

# Products have a multiple of so many rows, up to 128 one of few rows. Larger ones take
# longer, smaller ones leave more kernels in memory (docs/decisions.md).
ROWS = 32
FEW_ROWS = 16
# So many rows of the input are quantized and multiplied at once for each thread: what
# they become stays in the caches, and fewer would keep the product waiting
# (docs/decisions.md).
CHUNK = 256
# Least step of a row: a row of zeros is divided by it.
SMALLEST = 1e-30
# Steps that the numbers of a row are rounded to: where the processor sums up products
# of 8 bits in 32 (VNNI, AMX), and where in 16, which 255 * 127 * 2 would overflow.
LEVELS = 255
LEVELS_IN_16_BITS = 127


def fill_rows(rows: torch.Tensor) -> torch.Tensor:
    """Append rows of zeros up to a multiple, so that few numbers of rows occur.

    oneDNN compiles a product in bf16 or int8 for each number of rows and caches a
    thousand of them, some half a megabyte each.

    rows (Tensor): *Shape:* (n, width)
    RETURNS (Tensor): *Shape:* (n or more, width)
    """
    missing = -len(rows) % (ROWS if len(rows) > 128 else FEW_ROWS)
    # Even with nothing to append, `pad` makes a copy.
    return nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows


class FilledLinear(nn.Linear):
    """A linear layer that hands few numbers of rows to the kernels."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by the weights and add the biases.

        input (Tensor): *Shape:* (..., nI)
        RETURNS (Tensor): *Shape:* (..., nO)
        """
        rows = input.reshape(-1, input.shape[-1])
        output = super().forward(fill_rows(rows))[: len(rows)]
        return output.view(*input.shape[:-1], output.shape[-1])


class Int8Linear(nn.Linear):
    """A linear layer that multiplies whole numbers of 8 bits.

    Each row of the input is rounded to steps between its own least and greatest number,
    so it becomes the same whatever other rows there are. Each row of the weights has a
    step of its own, too. The weights in fp32 stay for who reads them.
    """

    packed: torch.Tensor
    step: torch.Tensor
    zeros: torch.Tensor
    total: torch.Tensor

    def quantize(self) -> "Int8Linear":
        """Round the weights.

        RETURNS (Int8Linear): Itself.
        """
        weight = self.weight.detach()
        step = weight.abs().amax(1).clamp_min(SMALLEST) / 127
        rounded = (weight / step[:, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.step = step
        self.zeros = torch.zeros(len(step), dtype=torch.int32)
        # What a row of ones would become.
        self.total = rounded.sum(1) * step
        return self

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply by the weights and add the biases.

        input (Tensor): In fp32. *Shape:* (..., nI)
        RETURNS (Tensor): In fp32. *Shape:* (..., nO)
        """
        rows = input.reshape(-1, self.in_features)
        output = rows.new_empty(len(rows), self.out_features)
        size = CHUNK * torch.get_num_threads()
        for chunk, out in zip(rows.split(size), output.split(size), strict=True):
            self._multiply(chunk, out)
        return output.view(*input.shape[:-1], self.out_features)

    def _multiply(self, rows: torch.Tensor, output: torch.Tensor) -> None:
        filled = fill_rows(rows)
        # With zero between them, steps are not too small for a row of like numbers.
        least = filled.amin(-1, keepdim=True).clamp_max_(0)
        greatest = filled.amax(-1, keepdim=True).clamp_min_(0)
        step = (greatest - least).div_(count_levels()).clamp_min_(SMALLEST)
        # As int8 from -128 on: torch converts to it three times as fast as to uint8.
        each = step.reciprocal()
        shift = (least * each).add_(128)
        rounded = torch.mul(filled, each).sub_(shift).round_().to(torch.int8)
        unsigned = rounded.bitwise_xor_(-128).view(torch.uint8)
        product = multiply(unsigned, self.packed, self.step, self.zeros)
        count = len(rows)
        shared = torch.zeros(()) if self.bias is None else self.bias
        torch.addcmul(shared, product[:count], step[:count], out=output)
        output.addcmul_(least[:count], self.total)


def multiply(
    rows: torch.Tensor, packed: torch.Tensor, step: torch.Tensor, zeros: torch.Tensor
) -> torch.Tensor:
    """Multiply whole numbers, with the operator that torch.compile uses on processors.

    rows (Tensor): In uint8. *Shape:* (n, nI)
    packed (Tensor): Weights in int8 as `qlinear_prepack` returns them.
    step (Tensor): What an output is multiplied by. *Shape:* (nO,)
    zeros (Tensor): Zeros in int32. *Shape:* (nO,)
    RETURNS (Tensor): In fp32. *Shape:* (n, nO)
    """
    product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        *(rows, 1.0, 0, packed, step, zeros, None),
        *(1.0, 0, torch.float32, "none", [], ""),
    )
    return product


@functools.cache
def count_levels() -> int:
    """Try how torch multiplies whole numbers of 8 bits on this processor.

    RETURNS (int): How many steps the numbers of a row may be rounded to, 255 or 127; 0
        where torch has no operator for it, which is no public one.
    """
    weights = torch.full((64, 64), 127, dtype=torch.int8)
    ones, zeros = torch.ones(64), torch.zeros(64, dtype=torch.int32)
    for levels in (LEVELS, LEVELS_IN_16_BITS):
        rows = torch.full((ROWS, 64), levels, dtype=torch.uint8)
        try:
            packed = torch.ops.onednn.qlinear_prepack(weights, None)
            product = multiply(rows, packed, ones, zeros)
        except (AttributeError, RuntimeError, TypeError):
            return 0
        if (product == 64 * 127 * levels).all():
            return levels
    return 0
