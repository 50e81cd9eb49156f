"""`spacy_nuner.ConceptTagger.v1`: a logit for each token and each concept."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from spacy.tokens import Doc
from thinc.api import (
    Gelu,
    Linear,
    Model,
    chain,
    resizable,
    torch2xp,
    xp2torch,
    zero_init,
)
from thinc.layers.resizable import resize_linear_weighted, resize_model
from thinc.types import Floats2d
from torch.nn.functional import linear

from ..errors import Errors, NunerError
from .precision import Precision, use_bf16
from .rows import with_rows

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


def create_concept_tagger(
    tok2vec: Model[list[Doc], list[Floats2d]],
    hidden_width: int = 0,
    nO: int | None = None,
    precision: Precision = "auto",
) -> Model[list[Doc], list[Floats2d]]:
    """Read concepts off the token vectors, linearly by default.

    A NuNER backbone is trained so that concepts can be read by a linear map (NuMind's
    blog, 2023); the paper's experiments also use a head of two layers.

    tok2vec (Model): From docs to token vectors, usually a listener.
    hidden_width (int): Width of a layer (GELU) before the output; 0 for none.
    nO (int | None): The number of concepts; set by the component.
    precision (str): How logits are computed in prediction: "bf16", "fp32", or "auto"
        for bf16 where there are more than 100 concepts and the processor has it.
    RETURNS (Model): From docs to one array of logits for each.
        *Shape:* (n_tokens, n_concepts)
    """
    product = create_product(nO, precision)
    output: Model[Any, Any] = resizable(product, resize_linear_weighted)
    if hidden_width:
        head: Model[Any, Any] = chain(Gelu(nO=hidden_width), output)
    else:
        head = output
    model: Model = chain(tok2vec, with_rows(head))
    model.set_ref("tok2vec", tok2vec)
    # A container: resizing changes the linear layer in it.
    model.set_ref("output_layer", output)
    return model


def resize_output(model: Model, n_concepts: int) -> None:
    """Make room for more concepts and keep what was learned of the others.

    model (Model): A concept tagger, initialized or not; changed in place.
    n_concepts (int): The new number of concepts; new ones start from zero.
    """
    resize_model(model.get_ref("output_layer"), n_concepts)


def remove_row(model: Model, row: int) -> None:
    """Take a concept out of the output layer and keep what was learned of the others.

    model (Model): A concept tagger, initialized or not; changed in place.
    row (int): Index of the concept.
    """
    container = model.get_ref("output_layer")
    old = container.layers[0]
    count = old.get_dim("nO") - 1
    # A new layer, as for resizing: the optimizer keeps moments of the shape it saw.
    new = renew_product(old, count, nI=old.maybe_get_dim("nI"))
    if old.has_param("W"):
        new.initialize()
        for name in ("W", "b"):
            values: Any = old.get_param(name)
            kept = [i for i in range(count + 1) if i != row]
            new.set_param(name, values[kept])
    container.layers[0] = new


def reset_output(model: Model, n_concepts: int) -> None:
    """Make the output layer anew, before saved weights are loaded into it.

    model (Model): A concept tagger; changed in place.
    n_concepts (int): The number of concepts in what will be loaded.
    """
    output = model.get_ref("output_layer")
    output.layers[0] = renew_product(output.layers[0], n_concepts)


def has_linear_head(model: Model) -> bool:
    """Tell whether concepts are read straight off the token vectors.

    model (Model): A concept tagger.
    RETURNS (bool): False if there is a hidden layer between.
    """
    return model.layers[-1].layers[0] is model.get_ref("output_layer")


def set_rows(model: Model, rows: Sequence[int], weights: Any, biases: Any) -> None:
    """Set what the output layer starts from for some concepts.

    model (Model): An initialized concept tagger with a linear head; changed in place.
    rows (Sequence[int]): Indices of the concepts.
    weights (ndarray): For the first columns of the token vectors, those of the last
        hidden layer; the other columns get 0. *Shape:* (n_rows, width)
    biases (ndarray): *Shape:* (n_rows,)
    RAISES (NunerError): N405 if the token vectors are not a multiple as wide, so that
        the weights are those of another backbone.
    """
    output = model.get_ref("output_layer").layers[0]
    ops = output.ops
    W: Any = output.get_param("W").copy()
    b: Any = output.get_param("b").copy()
    if W.shape[1] % weights.shape[1]:
        raise NunerError(Errors.N405, found=weights.shape[1], expected=W.shape[1])
    W[rows] = 0.0
    W[rows, : weights.shape[1]] = ops.asarray2f(weights)
    b[rows] = ops.asarray1f(biases)
    output.set_param("W", W)
    output.set_param("b", b)
