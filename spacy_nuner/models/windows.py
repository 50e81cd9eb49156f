"""Docs as word pieces, long ones cut into windows with no piece left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc


@dataclass(frozen=True)
class DocPieces:
    """The word pieces of one doc and which of them each token stands on.

    ids: Vocabulary ids of the pieces, without special ones. *Shape:* (n_pieces,)
    strings: The pieces themselves.
    starts: Each token's first piece. *Shape:* (n_tokens,)
    lengths: Each token's number of pieces, at least 1. *Shape:* (n_tokens,)
    """

    ids: NDArray[np.int64]
    strings: list[str]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """A stretch of one doc's pieces that goes through the encoder at once.

    doc: Index of the doc.
    start, end: First piece and the one after the last.
    keep_start, keep_end: The pieces whose vectors are taken from this window; those
        around them are context.
    """

    doc: int
    start: int
    end: int
    keep_start: int
    keep_end: int


def get_pieces(tokenizer: Any, docs: Sequence[Doc]) -> list[DocPieces]:
    """Cut the texts of docs into word pieces and align them with the tokens.

    tokenizer (PreTrainedTokenizerFast): The encoder's tokenizer.
    docs (Sequence[Doc]): The docs, each with at least one token.
    RETURNS (list[DocPieces]): One for each doc. A token that has no piece of its own
        (white space, a character that the tokenizer drops) shares the piece before
        it; a doc without any piece has one unknown piece.
    """
    encoded = tokenizer(
        [doc.text for doc in docs],
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=True,
        # "<s>" in a text is text, not the start of a sequence.
        split_special_tokens=True,
        truncation=False,
        padding=False,
        # Without this the tokenizer warns of texts over its limit; they are cut below.
        verbose=False,
    )
    out = []
    for doc, encoding in zip(docs, encoded.encodings, strict=True):
        if len(encoding) == 0:
            ids, strings = _unknown_piece(tokenizer)
            offsets = np.zeros((1, 2), dtype="i")
        else:
            ids, strings = encoding.ids, encoding.tokens
            offsets = np.asarray(encoding.offsets, dtype="i")
        starts, lengths = align_pieces(doc, offsets)
        out.append(DocPieces(np.asarray(ids, dtype="i8"), strings, starts, lengths))
    return out


def align_pieces(doc: Doc, offsets: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pieces that overlap each token.

    doc (Doc): The doc.
    offsets (ndarray): Character offsets of its pieces. *Shape:* (n_pieces, 2)
    RETURNS (tuple): First piece and number of pieces of each token.
        *Shape:* (n_tokens,) each
    """
    table = doc.to_array([IDX, LENGTH]).astype("i8").reshape(-1, 2)
    token_starts, token_ends = table[:, 0], table[:, 0] + table[:, 1]
    # Offsets rise, so the overlapping pieces are one stretch: those that end behind
    # the token's start and start before its end.
    first = np.searchsorted(offsets[:, 1], token_starts, side="right")
    after = np.searchsorted(offsets[:, 0], token_ends, side="left")
    lengths = after - first
    bare = lengths <= 0
    first = np.where(bare, np.clip(first - 1, 0, len(offsets) - 1), first)
    return first, np.where(bare, 1, lengths)


def cut_windows(counts: Sequence[int], *, size: int, stride: int) -> list[Window]:
    """Cut docs into windows that together keep each piece once.

    counts (Sequence[int]): The number of pieces of each doc.
    size (int): The most pieces a window may have, special ones not counted.
    stride (int): How many pieces on the next window starts; size - stride pieces are
        seen twice, and each is kept where it has more context on both sides.
    RETURNS (list[Window]): In the order of docs and pieces.
    """
    windows: list[Window] = []
    for doc, count in enumerate(counts):
        starts = list(range(0, max(count - size, 0), stride))
        # The last window is moved back so that it is as long as the others.
        starts.append(max(count - size, 0))
        ends = [min(start + size, count) for start in starts]
        cuts = [
            (end + after) // 2 for end, after in zip(ends, starts[1:], strict=False)
        ]
        windows.extend(
            Window(doc, start, end, keep_start, keep_end)
            for start, end, keep_start, keep_end in zip(
                starts, ends, [0, *cuts], [*cuts, count], strict=True
            )
        )
    return windows


def batch_windows(
    windows: Sequence[Window], *, max_padded: int, special: int
) -> Iterator[list[int]]:
    """Group windows of like length.

    windows (Sequence[Window]): The windows to group.
    max_padded (int): The most pieces of a batch, padding and special ones counted; a
        longer window stands alone.
    special (int): The number of special pieces of a window.
    YIELDS (list[int]): Indices of windows, the longest batch first, so that a batch
        that does not fit into memory shows at once.
    """
    order = sorted(
        range(len(windows)),
        key=lambda i: windows[i].end - windows[i].start,
        reverse=True,
    )
    batch: list[int] = []
    longest = 0
    for i in order:
        if batch and longest * (len(batch) + 1) > max_padded:
            yield batch
            batch = []
        if not batch:
            longest = windows[i].end - windows[i].start + special
        batch.append(i)
    if batch:
        yield batch


def _unknown_piece(tokenizer: Any) -> tuple[list[int], list[str]]:
    id_ = tokenizer.unk_token_id
    if id_ is None:
        id_ = tokenizer.pad_token_id or 0
    return [id_], [str(tokenizer.convert_ids_to_tokens(id_))]
