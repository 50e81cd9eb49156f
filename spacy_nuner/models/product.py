"""The product of token vectors and concepts, which grows with the concepts."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from thinc.api import Linear, Model, torch2xp, xp2torch, zero_init
from thinc.types import Floats2d
from torch.nn.functional import linear

from .encoding import Precision, use_bf16

# With fewer the product is a small part of the cost, and need not be rounded.
MANY_CONCEPTS = 100


def create_product(
    n_concepts: int | None, precision: Precision
) -> Model[Floats2d, Floats2d]:
    """Build a linear layer that starts from zero and predicts by torch.

    thinc's own product runs on one core and in fp32: with 1,000 concepts on vectors of
    width 768 it takes a fifth of what a small encoder takes.

    n_concepts (int | None): Width of the output.
    precision (str): "bf16", "fp32", or "auto" for bf16 where there are more than 100
        concepts and the processor has it.
    RETURNS (Model): From token vectors to logits. *Shape:* (n_tokens, n_concepts)
    """
    layer: Model[Floats2d, Floats2d] = Linear(nO=n_concepts, init_W=zero_init)
    return Model(
        layer.name,
        partial(forward, learn=layer._func, precision=precision),
        init=layer.init,
        dims={"nO": n_concepts, "nI": None},
        params={"W": None, "b": None},
    )


def renew_product(
    product: Model, n_concepts: int, *, nI: int | None = None
) -> Model[Floats2d, Floats2d]:
    """Build the same layer without what it learned.

    product (Model): What `create_product` made.
    n_concepts (int): Width of the output.
    nI (int | None): Width of the token vectors, None if that is to be seen.
    RETURNS (Model): An uninitialized layer.
    """
    return Model(
        product.name,
        product._func,
        init=product.init,
        dims={"nO": n_concepts, "nI": nI},
        params={"W": None, "b": None},
    )


def forward(
    model: Model[Floats2d, Floats2d],
    X: Floats2d,
    is_train: bool,
    *,
    learn: Callable[..., Any],
    precision: Precision,
) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    """Multiply by the weights and add the biases."""
    if is_train:
        result: tuple[Floats2d, Callable[[Floats2d], Floats2d]]
        result = learn(model, X, is_train)
        return result
    arrays = X, model.get_param("W"), model.get_param("b")
    tensors = [xp2torch(array) for array in arrays]
    many = model.get_dim("nO") > MANY_CONCEPTS or precision == "bf16"
    if many and use_bf16(precision, tensors[0].device):
        tensors = [tensor.to(torch.bfloat16) for tensor in tensors]
    with torch.inference_mode():
        logits: Any = torch2xp(linear(*tensors).float())
    return logits, lambda d_logits: d_logits
