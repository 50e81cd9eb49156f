"""What a frozen encoder says of each token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from torch import nn
from tqdm import tqdm

from ..encoder import max_pieces, special_pieces
from ..models.windows import batch_windows, cut_windows, get_pieces

# Word pieces of a batch, padding included: 64 sentences of 32 pieces.
MAX_PADDED = 2048


def embed_tokens(
    docs: Sequence[Doc],
    tokenizer: Any,
    model: nn.Module,
    *,
    hidden_layers: Sequence[int],
    title: str = "Embedding",
) -> NDArray[np.float32]:
    """Take the vectors of each token's first word piece from a frozen encoder.

    Texts over the encoder's limit are cut into overlapping windows; every token gets
    its vector.

    docs (Sequence[Doc]): The Docs.
    tokenizer (PreTrainedTokenizerFast): The encoder's tokenizer.
    model (nn.Module): The encoder, in evaluation mode, on the device to compute on.
    hidden_layers (Sequence[int]): Which layers, -1 being the last.
    title (str): What the progress bar says.
    RETURNS (Floats): fp32 vectors of the tokens of all Docs, one after another.
        *Shape:* (n_tokens, n_layers, width)
    """
    docs = [doc for doc in docs if len(doc)]
    pieces = get_pieces(tokenizer, docs)
    before, after = special_pieces(tokenizer)
    special = len(before) + len(after)
    size = max_pieces(tokenizer, model) - special
    # Neighbours share a quarter, so that each piece has context on both sides.
    windows = cut_windows(
        [len(one.ids) for one in pieces], size=size, stride=max(1, size - size // 4)
    )
    token_starts = np.cumsum([0, *(len(doc) for doc in docs)])
    width = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
    out = np.zeros((token_starts[-1], len(hidden_layers), width), dtype="f4")
    device = next(model.parameters()).device
    pad = tokenizer.pad_token_id or 0
    batches = list(batch_windows(windows, max_padded=MAX_PADDED, special=special))
    for batch in tqdm(batches, desc=title, unit="batch", leave=False):
        rows = [
            [*before, *pieces[w.doc].ids[w.start : w.end], *after]
            for w in (windows[i] for i in batch)
        ]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[i < len(row) for i in range(longest)] for row in rows])
        with torch.inference_mode():
            output = model(
                input_ids=ids.to(device),
                attention_mask=mask.long().to(device),
                output_hidden_states=True,
            )
            # As in models/shim.py: some architectures norm the last layer only in
            # last_hidden_state. Shape: (batch, pieces, layers, width)
            chosen = torch.stack(
                [
                    output.last_hidden_state if i == -1 else output.hidden_states[i]
                    for i in hidden_layers
                ],
                dim=2,
            )
        vectors = chosen.float().cpu().numpy()
        for i, vector in zip(batch, vectors, strict=True):
            window = windows[i]
            first = pieces[window.doc].starts
            kept = (first >= window.keep_start) & (first < window.keep_end)
            places = np.flatnonzero(kept)
            out[token_starts[window.doc] + places] = vector[
                len(before) + first[places] - window.start
            ]
    return out
