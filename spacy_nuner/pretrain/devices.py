"""What the devices of a run tell one another during a step."""

import gc
from typing import Any

import torch
from torch import Tensor, distributed


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        shares = [
            torch.empty_like(vectors) for _ in range(distributed.get_world_size())
        ]
        distributed.all_gather(shares, vectors.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Each device has compared its texts with all vectors.
        # A copy: autograd may still need what is summed up in place.
        whole = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(whole)
        return whole.chunk(distributed.get_world_size())[distributed.get_rank()]


def gather_vectors(vectors: Tensor, count: int) -> Tensor:
    """Put together the vectors that each device has computed a share of.

    The gradient of a vector is the sum over all devices, at the one that computed it.

    vectors (Tensor): Those of this device; each has as many. *Shape:* (share, width)
    count (int): How many there are; what is gathered beyond is repetition.
    RETURNS (Tensor): All of them, in the order of the devices. *Shape:* (count, width)
    """
    return _Gather.apply(vectors)[:count]


def agreed(value: bool, device: torch.device) -> bool:
    """Let the first process decide for all.

    value (bool): What each would do.
    device (torch.device): Where this process computes.
    RETURNS (bool): What the first one does.
    """
    if not is_together():
        return value
    told = torch.tensor(value, device=device)
    distributed.broadcast(told, src=0)
    return bool(told)


def is_together() -> bool:
    """Tell whether this process belongs to a group of several.

    RETURNS (bool): Whether there is a process group.
    """
    return distributed.is_available() and distributed.is_initialized()


def part_ways() -> None:
    """Take leave of the other devices at the end of a run.

    Else threads of the process group are alive when Python ends, which now and then
    aborts a process that has done all its work. What holds on to the group, as the
    wrapped model does, has to be gone: the last to let go of it waits for its threads,
    and unless that is torch's own list, it keeps Python locked while they need it.
    """
    if is_together():
        gc.collect()
        distributed.destroy_process_group()
