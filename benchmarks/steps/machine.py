"""What the machine can do, and what a step asks of it."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spacy_nuner.pretrain.model import ContrastiveModel

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SQUARES = (1024, 2048, 4096)


class Operations:
    """Counts what a step of a model takes, as told in pretrain.py."""

    def __init__(self, model: ContrastiveModel, *, kept: bool) -> None:
        """model (ContrastiveModel): The model. kept (bool): Whether the outputs of its
        frozen layers are.
        """
        config = model.text_encoder.config
        self.width: int = config.hidden_size
        self.inner: int = config.intermediate_size
        frozen = model.frozen_layers
        self.trained = config.num_hidden_layers - frozen
        self.forward_only = 0 if kept else frozen
        self.lowest = bool(frozen)

    def __call__(self, batch: dict[str, Tensor], mentions: Tensor) -> float:
        """batch (dict[str, Tensor]): The batch. mentions (Tensor): Mask of what the
        concept encoder read.

        RETURNS (float): Operations.
        """
        pieces, distinct = int(batch["is_text"].sum()), int(batch["positives"][1].max())
        total = 6.0 * self.width * pieces * (distinct + 1)
        for mask in (batch["attention_mask"], mentions):
            lengths = mask.sum(1).double()
            matrices = 4 * self.width**2 + 2 * self.width * self.inner
            layer = 2 * matrices * lengths + 4 * self.width * lengths**2
            total += float(layer.sum()) * (3 * self.trained + self.forward_only)
            total -= 6 * self.width**2 * float(lengths.sum()) * self.lowest
        return total


def square_rate(size: int, dtype: torch.dtype) -> float:
    """Operations a second of the product of two large squares, the best of some."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / best_seconds(lambda: a @ b)


def shapes_rate(pieces: int, width: int, inner: int, dtype: torch.dtype) -> float:
    """Operations a second of all products of six trained layers, forward and back."""
    operations = 0.0
    products = []
    for _ in range(6):
        for n, k in [(width, width)] * 4 + [(inner, width), (width, inner)]:
            x, w, g = (
                torch.randn(*shape).to(dtype)
                for shape in ((pieces, k), (n, k), (pieces, n))
            )
            products.append((x, w, g))
            operations += 6 * pieces * n * k

    def run() -> None:
        for x, w, g in products:
            torch.nn.functional.linear(x, w)
            torch.mm(g, w)
            torch.mm(g.T, x)

    return operations / best_seconds(run)


def best_seconds(run: Callable[[], Any], times: int = 5) -> float:
    """The shortest of some runs, after one to warm up."""
    run()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
