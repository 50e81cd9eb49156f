"""What a frozen encoder says of each token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from torch import nn
from tqdm import tqdm

from ..encoder import ALL
from ..models.backbone import create_backbone, get_inputs, get_shim
from ..models.encoding import Precision
from ..models.windows import get_pieces
from ..pipeline.stream import split_by_length


def embed_tokens(
    docs: Sequence[Doc],
    tokenizer: Any,
    model: nn.Module,
    *,
    hidden_layers: Sequence[int],
    precision: Precision = "auto",
    title: str = "Embedding",
) -> NDArray[np.float32]:
    """Take the vectors of each token's first word piece from a frozen encoder.

    They are computed as a pipeline computes them: texts over the encoder's limit are
    cut into overlapping windows, and every token gets its vector.

    docs (Sequence[Doc]): The Docs.
    tokenizer (PreTrainedTokenizerFast): The encoder's tokenizer.
    model (nn.Module): The encoder; frozen by this.
    hidden_layers (Sequence[int]): Which layers, -1 being the last.
    precision (str): As of `spacy_nuner.Backbone.v1`.
    title (str): What the progress bar says.
    RETURNS (Floats): fp32 vectors of the tokens of all Docs, one after another.
        *Shape:* (n_tokens, n_layers, width)
    """
    backbone = create_backbone(
        "", list(hidden_layers), freeze_layers=ALL, precision=precision
    )
    shim = get_shim(backbone)
    shim.set_encoder(tokenizer, model)
    docs = [doc for doc in docs if len(doc)]
    token_starts = np.cumsum([0, *(len(doc) for doc in docs)])
    width: Any = shim.encoder.config.hidden_size
    out = np.zeros((token_starts[-1], len(hidden_layers), width), dtype="f4")
    parts = list(split_by_length([len(doc) for doc in docs]))
    for part in tqdm(parts, desc=title, unit="batch", leave=False):
        pieces = get_pieces(tokenizer, [docs[i] for i in part])
        vectors = shim.predict(get_inputs(backbone, pieces)).cpu().numpy()
        piece_starts = np.cumsum([0, *(len(one.ids) for one in pieces)])
        for i, one, start in zip(part, pieces, piece_starts, strict=False):
            rows = out[token_starts[i] : token_starts[i + 1]]
            rows[:] = vectors[start + one.starts].reshape(rows.shape)
    return out
