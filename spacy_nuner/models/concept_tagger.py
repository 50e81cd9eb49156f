"""`spacy_nuner.ConceptTagger.v1`: a logit for each token and each concept."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from spacy.tokens import Doc
from thinc.api import Gelu, Linear, Model, Ops, chain, resizable, with_array, zero_init
from thinc.layers.resizable import resize_linear_weighted, resize_model
from thinc.types import Floats2d

from ..errors import Errors, NunerError

# The bias of a concept of which nothing is known: a probability of a hundredth.
UNKNOWN = -4.6


def build_concept_tagger(
    tok2vec: Model[list[Doc], list[Floats2d]],
    hidden_width: int = 0,
    nO: int | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Read concepts off the token vectors, linearly by default.

    A NuNER backbone is trained so that concepts can be read by a linear map (NuMind's
    blog, 2023); the paper's experiments also use a head of two layers.

    tok2vec (Model): From docs to token vectors, usually a listener.
    hidden_width (int): Width of a layer (GELU) before the output; 0 for none.
    nO (int | None): The number of concepts; set by the component.
    RETURNS (Model): From docs to one array of logits for each.
        *Shape:* (n_tokens, n_concepts)
    """
    head, output = build_head(hidden_width, nO)
    model: Model = chain(tok2vec, with_array(head))
    # The output is a container: resizing changes the linear layer in it.
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output)
    return model


def build_head(
    hidden_width: int, nO: int | None
) -> tuple[Model[Floats2d, Floats2d], Model[Floats2d, Floats2d]]:
    """Build what reads labels off token vectors.

    hidden_width (int): Width of a layer (GELU) before the output; 0 for none.
    nO (int | None): The number of labels, None if that is to be seen.
    RETURNS (tuple[Model, Model]): All of it, and its output layer.
    """
    output: Model[Any, Any] = resizable(build_linear(nO), resize_linear_weighted)
    return (chain(Gelu(nO=hidden_width), output) if hidden_width else output), output


def build_linear(
    n_concepts: int | None, nI: int | None = None
) -> Model[Floats2d, Floats2d]:
    """Build a linear layer that starts from zero.

    thinc's own multiplies on one core and takes three times as long on that: with 1,000
    concepts a seventh of the time of a small pipeline (docs/decisions.md).

    n_concepts (int | None): Width of the output.
    nI (int | None): Width of the token vectors, None if that is to be seen.
    RETURNS (Model): From token vectors to logits. *Shape:* (n_tokens, n_concepts)
    """
    return Model(
        "linear",
        forward,
        init=Linear(init_W=zero_init).init,
        dims={"nO": n_concepts, "nI": nI},
        params={"W": None, "b": None},
    )


def forward(
    model: Model[Floats2d, Floats2d], X: Floats2d, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    """Multiply by the weights and add the biases."""
    inputs: Any = X
    W: Any = model.get_param("W")
    logits = inputs @ W.T
    logits += model.get_param("b")

    def backprop(d_logits: Any) -> Floats2d:
        model.inc_grad("b", d_logits.sum(axis=0))
        model.inc_grad("W", d_logits.T @ inputs)
        d_inputs: Floats2d = d_logits @ W
        return d_inputs

    return logits, backprop


def join_rows(ops: Ops, arrays: Sequence[Floats2d], width: int) -> Any:
    """Concatenate arrays of docs on the processor.

    ops (Ops): Of any device; the arrays may be on either.
    arrays (Sequence[Floats2d]): *Shape:* (rows, width) each, any width without rows
    width (int): Also where there are no rows.
    RETURNS (ndarray): *Shape:* (all rows, width)
    """
    filled = [ops.to_numpy(array) for array in arrays if len(array)]
    return np.concatenate([np.zeros((0, width), dtype="f"), *filled])


def resize_output(model: Model, n_concepts: int) -> None:
    """Make room for more concepts and keep what was learned of the others.

    model (Model): A concept tagger, initialized or not; changed in place.
    n_concepts (int): The new number of concepts; new ones start from zero.
    """
    container = model.get_ref("output_layer")
    old = container.layers[0]
    resize_model(container, n_concepts)
    new = container.layers[0]
    for name in ("W", "b"):
        # Of the first part of a batch, where gradients are added up.
        gradient: Any = old.maybe_get_grad(name)
        if new is not old and gradient is not None:
            padded: Any = new.ops.alloc(new.get_param(name).shape)
            rows = min(len(gradient), len(padded))
            padded[:rows] = gradient[:rows]
            new.inc_grad(name, padded)
    _forget_width(model)


def remove_row(model: Model, row: int) -> None:
    """Take a concept out of the output layer and keep what was learned of the others.

    model (Model): A concept tagger, initialized or not; changed in place.
    row (int): Index of the concept.
    """
    container = model.get_ref("output_layer")
    old = container.layers[0]
    count = old.get_dim("nO") - 1
    # A new layer, as for resizing: the optimizer keeps moments of the shape it saw.
    new = build_linear(count, old.maybe_get_dim("nI"))
    if old.has_param("W"):
        new.initialize()
        for name in ("W", "b"):
            values: Any = old.get_param(name)
            new.set_param(name, values[[i for i in range(count + 1) if i != row]])
    container.layers[0] = new
    _forget_width(model)


def set_unknown(model: Model, row: int) -> None:
    """Let a concept of which nothing is known be found nowhere.

    A row of zeros says a half everywhere, which is over many thresholds.

    model (Model): An initialized tagger of independent concepts; changed in place.
    row (int): Index of the concept.
    """
    output = model.get_ref("output_layer").layers[0]
    biases: Any = output.get_param("b").copy()
    biases[row] = UNKNOWN
    output.set_param("b", biases)


def _forget_width(model: Model) -> None:
    """Forget how many concepts there were where that is noted besides: thinc notes it
    in each layer around the output, and loads none with another number.
    """
    output = model.get_ref("output_layer").layers[0]
    for node in model.walk():
        around = node is not output and any(one is output for one in node.walk())
        if around and "nO" in node.dim_names and not node.param_names:
            none: Any = None
            node.set_dim("nO", none, force=True)


def reset_output(model: Model, n_concepts: int) -> None:
    """Make the output layer anew, before saved weights are loaded into it.

    model (Model): A concept tagger; changed in place.
    n_concepts (int): The number of concepts in what will be loaded.
    """
    model.get_ref("output_layer").layers[0] = build_linear(n_concepts)
    _forget_width(model)


def check_output(model: Model, n_concepts: int) -> None:
    """Check what was loaded into a concept tagger or an entity tagger.

    model (Model): The tagger; one that was never initialized has no weights.
    n_concepts (int): The number of concepts that it has a row for.
    RAISES (ValueError): If its weights are not for as many, or not numbers.
    """
    output = model.get_ref("output_layer").layers[0]
    width = model.get_ref("tok2vec").maybe_get_dim("nO")
    before = width
    if not has_linear_head(model):
        before = _get_head(model).layers[0].maybe_get_dim("nO")
    layers = [(output, n_concepts, before)] if output.has_param("W") else []
    if layers and has_boundary(model):
        layers.append((model.get_ref("boundary"), 1, width))
    for layer, rows, expected in layers:
        W, b = (layer.get_param(name) for name in ("W", "b"))
        columns = expected or W.shape[-1]
        if W.shape != (rows, columns) or b.shape != (rows,):
            raise ValueError(
                f"its weights are {W.shape} and {b.shape}, expected are those of "
                f"{rows} labels and vectors of {columns} numbers"
            )
        if W.dtype != "float32" or b.dtype != "float32":
            raise ValueError(f"its weights are {W.dtype} and {b.dtype}, not float32")
    for node in model.walk():
        for name in node.param_names:
            # Not those of layers that are not set up.
            values: Any = node.get_param(name) if node.has_param(name) else None
            if values is not None and not node.ops.xp.isfinite(values).all():
                raise ValueError(f"{name} of {node.name} holds what is not a number")


def has_boundary(model: Model) -> bool:
    """Tell whether a model says where an entity follows one of its label.

    model (Model): A concept tagger or an entity tagger.
    RETURNS (bool): Whether it has a column more than labels.
    """
    return model.has_ref("boundary") is not False


def has_linear_head(model: Model) -> bool:
    """Tell whether concepts are read straight off the token vectors.

    model (Model): A concept tagger or an entity tagger.
    RETURNS (bool): False if there is a hidden layer between.
    """
    return _get_head(model) is model.get_ref("output_layer")


def _get_head(model: Model) -> Model:
    """What reads labels off the token vectors, without what is appended to it."""
    head = model.layers[-1].layers[0]
    return head.layers[0] if has_boundary(model) else head


def set_rows(model: Model, rows: Sequence[int], weights: Any, biases: Any) -> None:
    """Set what the output layer starts from for some concepts.

    model (Model): An initialized tagger with a linear head; changed in place.
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
