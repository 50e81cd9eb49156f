"""Dropout that is cheap on a processor."""

from typing import Any

import torch
from torch import Tensor, nn

# Random numbers of 16 bits are drawn four at a time.
LEVELS = 2**16


class FastDropout(nn.Dropout):
    """Dropout from four random numbers at once where torch draws them one by one.

    The probability is rounded to 1/65536. On other devices it is torch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop out.

        input (Tensor): Anything. *Shape:* any
        RETURNS (Tensor): In training some are 0 and the rest is scaled up. *Shape:* the
            same
        """
        if input.device.type != "cpu" or not self.training or not 0 < self.p < 1:
            return super().forward(input)
        count = input.numel()
        random = torch.empty((count + 3) // 4, dtype=torch.int64).random_(
            -(2**63), None
        )
        levels = random.view(torch.int16)[:count].view(input.shape)
        dropped = round(self.p * LEVELS)
        # Written as numbers at once: a mask of truth values is slow to multiply with.
        kept = torch.empty(input.shape, dtype=input.dtype)
        torch.ge(levels, dropped - LEVELS // 2, out=kept)
        return input * kept.mul_(LEVELS / (LEVELS - dropped))


def use_fast_dropout(encoder: nn.Module) -> None:
    """Exchange torch's dropout for ours.

    encoder (nn.Module): An encoder; changed in place.
    """
    for parent in encoder.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                ours: Any = FastDropout(child.p).train(child.training)
                setattr(parent, name, ours)
