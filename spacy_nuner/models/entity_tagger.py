"""`spacy_nuner.EntityTagger.v1`: logits of labels, and of boundaries."""

from collections.abc import Callable
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model, chain, with_array
from thinc.types import Floats2d

from .concept_tagger import build_head, build_linear


def build_entity_tagger(
    tok2vec: Model[list[Doc], list[Floats2d]],
    hidden_width: int = 0,
    nO: int | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Read labels off the token vectors, and where an entity follows one of its label.

    As `spacy_nuner.ConceptTagger.v1`, with one column more behind those of the labels:
    over 0 where an entity begins on a token although the token before it has the same
    label. It is learned from neighbouring entities of a label, and starts from zero,
    which splits nothing.

    tok2vec (Model): From docs to token vectors, usually a listener.
    hidden_width (int): Width of a layer (GELU) before the labels; 0 for none.
    nO (int | None): The number of labels; set by the component.
    RETURNS (Model): From docs to one array of logits for each.
        *Shape:* (n_tokens, n_labels + 1)
    """
    head, output = build_head(hidden_width, nO)
    boundary = build_linear(1)
    model: Model = chain(tok2vec, with_array(append_column(head, boundary)))
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output)
    model.set_ref("boundary", boundary)
    return model


def append_column(
    head: Model[Floats2d, Floats2d], boundary: Model[Floats2d, Floats2d]
) -> Model[Floats2d, Floats2d]:
    """Append the column of one layer to those of another.

    thinc's `concatenate` takes the sum of their widths for its own and can't be
    resized.

    head (Model): The first layer; what the whole is initialized with is its output.
    boundary (Model): The last column.
    RETURNS (Model): *Shape:* (n_rows, width of head + 1)
    """
    return Model(
        "append-column",
        _forward,
        init=_init,
        layers=[head, boundary],
        # While it is not set, thinc's `chain` hands on what it is initialized with.
        dims={"nO": None},
    )


def _forward(
    model: Model[Floats2d, Floats2d], X: Floats2d, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    head, boundary = model.layers
    labels, backprop_labels = head(X, is_train)
    begins, backprop_begins = boundary(X, is_train)

    def backprop(d_logits: Any) -> Floats2d:
        d_X: Any = backprop_labels(d_logits[:, :-1])
        d_X += backprop_begins(d_logits[:, -1:])
        found: Floats2d = d_X
        return found

    joined: Floats2d = model.ops.xp.concatenate((labels, begins), axis=1)
    return joined, backprop


def _init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    head, boundary = model.layers
    head.initialize(X=X, Y=Y)
    boundary.initialize(X=X)
