"""`spacy_nuner.Backbone.v1`: the model of spaCy's `transformer` component.

Plugs into spacy-transformers (https://github.com/explosion/spacy-transformers): the
component, `doc._.trf_data` and every listener stay as they are known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.util import logger
from spacy_transformers.data_classes import (
    FullTransformerBatch,
    TransformerData,
    WordpieceBatch,
)
from spacy_transformers.layers.split_trf import split_trf_batch
from thinc.api import ArgsKwargs, Model, chain, get_array_module, torch2xp, xp2torch
from thinc.types import Floats2d, Ragged

from ..encoders.batching import batch_by_length
from ..encoders.folder import recommended_layers
from ..encoders.layers import load_encoder
from ..encoders.safety import explaining_damage
from ..errors import Errors, NunerError
from ..printing import printable
from .listener import replace_listener, replace_listener_cfg
from .pooling import as_output, pool_pieces
from .precision import Precision, WindowBatch
from .shim import BackboneShim, VectorCache, check_hidden_layers
from .windows import (
    MAX_PADDING,
    DocPieces,
    Window,
    cut_windows,
    get_pieces,
)

# As spacy-transformers calls its own.
NAME = "transformer"


def build_backbone(
    name: str,
    hidden_layers: list[int] | None = None,
    freeze_layers: int = 0,
    learn_rate_scale: float | list[float] = 1.0,
    by_sentence: bool = True,
    window: int | None = None,
    max_batch_pieces: int = 2048,
    precision: Precision = "auto",
) -> Model[list[Doc], FullTransformerBatch]:
    """Build the model of a `transformer` component from a NuNER backbone.

    name (str): The encoder: a folder, a hub name such as "numind/NuNER-v2.0",
        `package:NAME/PATH`, or "default". Read by `initialize`; a saved pipeline needs
        it no more.
    hidden_layers (list[int] | None): Which hidden layers to hand on, concatenated, as
        indices from the end, the last one first: [-1], or [-1, -7] for the last and
        the middle layer of a 12-layer NuNER. None: what the backbone recommends,
        else the last and the one at half the depth. They stand in
        `last_hidden_state`, so that every listener gets them.
    freeze_layers (int): How many layers are left as they are, from the bottom up; the
        embeddings are in any case. -1 freezes the whole encoder: no backward pass, no
        dropout, and texts that are seen again in training are not encoded again.
    learn_rate_scale (float | list[float]): The optimizer's rate times this is the rate
        of the encoder; a list has one number for each layer, from the bottom up.
    by_sentence (bool): Whether each sentence and each line goes through the encoder by
        itself, as in pre-training and as heads see single sentences, so that they find
        as much in a document (`spacy_nuner.sentences` tells where sentences end). Else
        a document is one long sentence.
    window (int | None): The most word pieces that go through the encoder at once,
        special ones included; longer sentences are cut into windows of this size that
        overlap by a quarter. None: 64, or what the encoder takes if that is less.
    max_batch_pieces (int): The most word pieces of a pass, padding included.
    precision (str): How the encoder computes when nothing is learned in it: "bf16",
        "fp32", "auto" for bf16 on processors that have it and fp32 elsewhere, or
        "int8", which is a little less exact and may be faster on processors without
        bf16. The weights stay in fp32.
    RETURNS (Model): From docs to a batch that spacy-transformers understands.
    """
    shim = BackboneShim(
        hidden_layers=hidden_layers,
        freeze_layers=freeze_layers,
        learn_rate_scale=learn_rate_scale,
        by_sentence=by_sentence,
        window=window,
        max_batch_pieces=max_batch_pieces,
        precision=precision,
    )
    return BackboneModel(name, shim)


class BackboneModel(Model[list[Doc], FullTransformerBatch]):
    """A backbone, with the attributes of spacy-transformers' `TransformerModel`."""

    def __init__(self, name: str, shim: BackboneShim) -> None:
        """name (str): Where the encoder is read from.

        shim (BackboneShim): Its weights, once they are read, and the settings.
        """
        super().__init__(
            NAME,
            forward,
            init=init,
            shims=[shim],
            dims={"nO": None},
            attrs={
                "name": name,
                # spaCy's `replace_listeners` looks for these two.
                "replace_listener": replace_listener,
                "replace_listener_cfg": replace_listener_cfg,
            },
        )

    @property
    def tokenizer(self) -> Any:
        """RETURNS (PreTrainedTokenizerFast | None): None before there is an encoder.
        What is changed in it, or set in its place, is saved.
        """
        return get_shim(self).tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        get_shim(self).set_encoder(tokenizer, self.transformer)

    @property
    def transformer(self) -> Any:
        """RETURNS (PreTrainedModel | None): None before there is an encoder. What is
        changed in it, or set in its place, is saved.
        """
        return get_shim(self).encoder

    @transformer.setter
    def transformer(self, encoder: Any) -> None:
        get_shim(self).set_encoder(self.tokenizer, encoder)

    def from_bytes(self, bytes_data: bytes) -> "BackboneModel":
        """Load what `to_bytes` made.

        bytes_data (bytes): The saved backbone.
        RETURNS (BackboneModel): Itself.
        RAISES (NunerError): N023 if it is something else; what
            `BackboneShim.from_bytes` raises.
        """
        with explaining_damage("backbone"):
            super().from_bytes(bytes_data)
            check_width(self)
        return self

    def copy(self) -> "BackboneModel":
        """RETURNS (BackboneModel): The same, with weights of its own."""
        copied = BackboneModel(self.attrs["name"], get_shim(self).copy())
        if self.has_dim("nO"):
            copied.set_dim("nO", self.get_dim("nO"))
        return copied


@dataclass
class BackboneBatch(FullTransformerBatch):
    """The output for a batch of docs, packed: one row for each word piece.

    Unlike the stock batch it knows no padding and no special pieces: each doc is one
    row of its own word pieces, whichever windows they were encoded in.
    """

    def unsplit_by_doc(self, arrays: list[list[Any]]) -> "BackboneBatch":
        """Join the gradients of the docs again.

        arrays (list[list[Floats3d]]): For each doc that has tokens, a list that holds
            its gradient. *Shape:* (1, pieces, width)
        RETURNS (BackboneBatch): The gradient of the packed output.
        """
        xp = get_array_module(arrays[0][0])
        joined = xp.concatenate([doc_arrays[0][0] for doc_arrays in arrays])
        output = as_output(xp2torch(joined))
        return BackboneBatch(self.spans, self.wordpieces, output, self.align)


def get_shim(model: Model) -> BackboneShim:
    """Get the shim of a backbone.

    model (Model): A backbone.
    RETURNS (BackboneShim): Its encoder, tokenizer and settings of training.
    """
    return cast(BackboneShim, model.shims[0])


def check_width(model: Model) -> None:
    """Check that a loaded backbone gives vectors as wide as it says.

    model (Model): A backbone.
    RAISES (ValueError): If it does not, or is called something else than a text.
    """
    shim, width = get_shim(model), model.maybe_get_dim("nO")
    if shim.encoder is not None:
        found = shim.encoder.config.hidden_size * len(shim.hidden_layers or [-1])
        if width != found:
            raise ValueError(f"vectors are {found} wide, and it says {width!r}")
    if not isinstance(model.attrs["name"], str):
        raise ValueError(f"its name is {model.attrs['name']!r}")


def find_backbone(model: Any) -> Model | None:
    """Look for a backbone in a model.

    model (Any): The model of a component; anything else has no backbone.
    RETURNS (Model | None): The first backbone in it.
    """
    nodes = model.walk() if isinstance(model, Model) else ()
    for node in nodes:
        if any(isinstance(shim, BackboneShim) for shim in node.shims):
            return node
    return None


def init(model: Model, X: Any = None, Y: Any = None) -> None:
    """Load the encoder, unless the model has one already."""
    shim = get_shim(model)
    if shim.encoder is not None:
        return
    name = model.attrs["name"]
    # Where predictions alone are made, weights would be of a kind that none can train.
    with torch.inference_mode(mode=False):
        tokenizer, encoder = load_encoder(name)
    depth = encoder.config.num_hidden_layers
    # Read in any case: it refuses a backbone of a newer format.
    recommended = recommended_layers(encoder.config.name_or_path, depth)
    if shim.hidden_layers is None:
        shim.hidden_layers = recommended
    check_hidden_layers(shim.hidden_layers, depth)
    shim.set_encoder(tokenizer, encoder)
    # It refuses a window that does not fit.
    shim.get_window()
    model.set_dim("nO", encoder.config.hidden_size * len(shim.hidden_layers))
    total = sum(parameter.numel() for parameter in encoder.parameters())
    logger.info(
        "Backbone %s: %d of %d weights are frozen (%.0f%%)",
        printable(name),
        shim.frozen_weights,
        total,
        100 * shim.frozen_weights / total,
    )


def forward(
    model: Model, docs: Sequence[Doc], is_train: bool
) -> tuple[FullTransformerBatch, Callable[[FullTransformerBatch], list[Doc]]]:
    """Encode docs; the gradient of the output comes back packed in the same way."""
    docs = list(docs)
    shim = get_shim(model)
    if shim.encoder is None:
        raise NunerError(Errors.N406, name=model.attrs["name"])
    pieces = get_pieces(
        shim.tokenizer, [doc for doc in docs if len(doc)], by_sentence=shim.by_sentence
    )
    if is_train:
        shim.start_cache()
    if shim.cache is not None:
        output, get_gradient = _get_cached(model, pieces, shim.cache, is_train), None
    else:
        output, get_gradient = shim(get_inputs(model, pieces), is_train)
    batch = _make_batch(docs, pieces, output)

    def backprop(d_batch: FullTransformerBatch) -> list[Doc]:
        if get_gradient is not None and output.requires_grad:
            d_output: Any = d_batch.model_output
            gradient = d_output.last_hidden_state
            # A listener with grad_factor = 0 sends zeros.
            if gradient.any():
                kwargs = {"grad_tensors": (gradient,)}
                get_gradient(ArgsKwargs(args=((output,),), kwargs=kwargs))
        return docs

    return batch, backprop


def _get_cached(
    model: Model, pieces: Sequence[DocPieces], cache: VectorCache, is_train: bool
) -> torch.Tensor:
    """Encode the docs whose pieces were not seen before, and look up the others."""
    keys = [
        (doc_pieces.ids.tobytes(), doc_pieces.sentences.tobytes())
        for doc_pieces in pieces
    ]
    found = {key: cache.get(key) for key in keys}
    new = {
        key: doc_pieces
        for key, doc_pieces in zip(keys, pieces, strict=True)
        if found[key] is None
    }
    if new:
        computed = get_shim(model).compute(get_inputs(model, list(new.values())))
        parts = computed.split([len(doc_pieces.ids) for doc_pieces in new.values()])
        for key, vectors in zip(new, parts, strict=True):
            cache.add(key, vectors, is_train=is_train)
            found[key] = vectors
    return torch.cat([cast(torch.Tensor, found[key]) for key in keys]).float()


def get_inputs(model: Model, pieces: Sequence[DocPieces]) -> ArgsKwargs:
    """Cut docs into windows, those of like length in one batch.

    model (Model): A backbone.
    pieces (Sequence[DocPieces]): The word pieces of some docs.
    RETURNS (ArgsKwargs): The batches, and how to bring their rows into the order of
        the docs: the arguments of `HiddenLayers`.
    """
    shim = get_shim(model)
    before, after = shim.special
    size, stride = shim.get_window()
    counts = [len(doc_pieces.ids) for doc_pieces in pieces]
    sentences = [doc_pieces.sentences.tolist() for doc_pieces in pieces]
    windows = cut_windows(counts, sentences, size=size, stride=stride)
    lengths = [w.end - w.start + len(before) + len(after) for w in windows]
    first_row = np.concatenate([[0], np.cumsum(counts)])
    device = shim.device
    batches: list[WindowBatch] = []
    rows: list[Any] = []
    for indices in batch_by_length(
        lengths, max_size=shim.max_batch_pieces, max_padding=MAX_PADDING
    ):
        chosen = [windows[i] for i in indices]
        ids, mask, keep = _pad(chosen, pieces, before, after, shim.tokenizer)
        batches.append(
            WindowBatch(*(torch.from_numpy(a).to(device) for a in (ids, mask, keep)))
        )
        rows.extend(
            np.arange(w.keep_start, w.keep_end) + first_row[w.doc] for w in chosen
        )
    # rows[i] is the index of row i among the pieces of the docs; invert it.
    order = np.argsort(np.concatenate(rows))
    return ArgsKwargs(args=(batches, torch.from_numpy(order).to(device)), kwargs={})


def _pad(
    windows: Sequence[Window],
    pieces: Sequence[DocPieces],
    before: list[int],
    after: list[int],
    tokenizer: Any,
) -> tuple[Any, Any, Any]:
    length = max(w.end - w.start for w in windows) + len(before) + len(after)
    ids = np.full((len(windows), length), tokenizer.pad_token_id or 0, dtype="i8")
    mask = np.zeros((len(windows), length), dtype="i8")
    keep = []
    for row, w in enumerate(windows):
        end = len(before) + w.end - w.start
        ids[row, : len(before)] = before
        ids[row, len(before) : end] = pieces[w.doc].ids[w.start : w.end]
        ids[row, end : end + len(after)] = after
        mask[row, : end + len(after)] = 1
        offset = row * length + len(before) - w.start
        keep.append(np.arange(w.keep_start + offset, w.keep_end + offset))
    return ids, mask, np.concatenate(keep)


def _make_batch(
    docs: Sequence[Doc], pieces: Sequence[DocPieces], output: torch.Tensor
) -> BackboneBatch:
    packed: Any = torch2xp(output.detach())
    bounds = np.cumsum([0, *(len(doc_pieces.ids) for doc_pieces in pieces)])
    data = (
        _make_doc_data(doc_pieces, packed[start:end])
        for doc_pieces, (start, end) in zip(pieces, pairwise(bounds), strict=True)
    )
    empty: Any = np.zeros((0,), dtype="i")
    return BackboneBatch(
        spans=[[doc[:]] if len(doc) else [] for doc in docs],
        wordpieces=WordpieceBatch.empty(),
        model_output=as_output(output),
        align=Ragged(empty, empty),
        cached_doc_data=[
            next(data) if len(doc) else TransformerData.empty() for doc in docs
        ],
    )


def _make_doc_data(pieces: DocPieces, vectors: Any) -> TransformerData:
    ids: Any = pieces.ids[np.newaxis]
    mask: Any = np.ones(ids.shape, dtype="f")
    return TransformerData(
        wordpieces=WordpieceBatch(
            strings=[pieces.strings],
            input_ids=ids,
            attention_mask=mask,
            lengths=[ids.shape[1]],
            token_type_ids=None,
        ),
        model_output=as_output(vectors[np.newaxis]),
        align=pieces.align,
    )


def build_tok2vec_backbone(
    name: str,
    pooling: Model[Ragged, Floats2d],
    grad_factor: float = 1.0,
    hidden_layers: list[int] | None = None,
    freeze_layers: int = 0,
    learn_rate_scale: float | list[float] = 1.0,
    by_sentence: bool = True,
    window: int | None = None,
    max_batch_pieces: int = 2048,
    precision: Precision = "auto",
) -> Model[list[Doc], list[Floats2d]]:
    """Use a backbone inside one component, shared with no other.

    pooling (Model): How the vectors of a token's word pieces become one.
    grad_factor (float): The gradient to the backbone is multiplied by this.
    name and all others: As in `spacy_nuner.Backbone.v1`.
    RETURNS (Model): From docs to one array for each. *Shape:* (n_tokens, width times
        the number of hidden layers)
    """
    backbone = build_backbone(
        name,
        hidden_layers,
        freeze_layers,
        learn_rate_scale,
        by_sentence,
        window,
        max_batch_pieces,
        precision,
    )
    # The same nesting as a listener has after `nlp.replace_listeners`.
    return chain(chain(backbone, split_trf_batch()), pool_pieces(pooling, grad_factor))
