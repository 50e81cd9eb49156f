"""Docs as word pieces, cut into windows with no piece left out: sentences, or more."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc
from thinc.types import Ragged

from ..sentences import find_sentences

# Word pieces of padding in a pass through the encoder. A pass costs as much as 100 to
# 150 pieces before it looks at any, so less padding would cost more in passes. Of 2,000
# sentences 6% is padding in batches of 1,000 docs, 9% of 256, 16% of 64.
MAX_PADDING = 56


class DocPieces(NamedTuple):
    """The word pieces of one doc and which of them belong to each token.

    ids: Vocabulary ids of the pieces, without special ones. *Shape:* (n_pieces,)
    strings: The pieces themselves.
    align: For each token the indices of its pieces, at least one.
    sentences: The pieces with which sentences begin, without the first sentence.
        *Shape:* (n_sentences - 1,)
    """

    ids: NDArray[np.int64]
    strings: list[str]
    align: Ragged
    sentences: NDArray[np.int64]


class Window(NamedTuple):
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


def get_pieces(
    tokenizer: Any, docs: Sequence[Doc], *, by_sentence: bool = True
) -> list[DocPieces]:
    """Cut the texts of docs into word pieces and align them with the tokens.

    tokenizer (PreTrainedTokenizerFast): The encoder's tokenizer.
    docs (Sequence[Doc]): The docs, each with at least one token.
    by_sentence (bool): Find sentences; else a doc is taken for one.
    RETURNS (list[DocPieces]): One for each doc. A token that has no piece of its own
        (white space, a character that the tokenizer drops) shares the piece before
        it; a doc without any piece has one unknown piece.
    """
    # Not through the tokenizer's own call, which makes lists of all fields for each
    # text: that takes as long as the cutting itself.
    backend = tokenizer.backend_tokenizer
    # Only what differs: it can't be set while another thread cuts texts.
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    # "<s>" in a text is text, not the start of a sequence.
    if not backend.encode_special_tokens:
        backend.encode_special_tokens = True
    encodings = backend.encode_batch(
        [doc.text for doc in docs], add_special_tokens=False
    )
    found = [
        (encoding.ids, encoding.tokens, encoding.offsets)
        if len(encoding)
        else _get_unknown_piece(tokenizer)
        for encoding in encodings
    ]
    aligned = align_pieces(docs, [offsets for _, _, offsets in found])
    return [
        DocPieces(
            np.asarray(ids, dtype="i8"),
            strings,
            align,
            _find_first_pieces(find_sentences(doc) if by_sentence else [], offsets),
        )
        for doc, (ids, strings, offsets), align in zip(
            docs, found, aligned, strict=True
        )
    ]


def _find_first_pieces(
    starts: Sequence[int], offsets: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    """Find the pieces in which sentences begin that begin at some characters."""
    if not starts:
        return np.zeros(0, dtype="i8")
    ends = np.fromiter((end for _, end in offsets), "i8", len(offsets))
    first = np.unique(np.searchsorted(ends, starts, side="right"))
    return first[(first > 0) & (first < len(offsets))]


def align_pieces(
    docs: Sequence[Doc], offsets: Sequence[Sequence[tuple[int, int]]]
) -> list[Ragged]:
    """Find the pieces that overlap each token, for all docs at once.

    docs (Sequence[Doc]): The docs, each with at least one token.
    offsets (Sequence): For each doc the character offsets of its pieces, one at
        least. *Shape:* (n_pieces, 2) each
    RETURNS (list[Ragged]): For each doc the indices of each token's pieces.
    """
    if not docs:
        return []
    tables = [doc.to_array([IDX, LENGTH]).reshape(-1, 2) for doc in docs]
    n_tokens, n_pieces = [len(t) for t in tables], [len(o) for o in offsets]
    table = np.concatenate(tables).astype("i8")
    # Piece by piece from the lists: arrays of each doc's tuples take twice as long.
    flat = np.fromiter(
        chain.from_iterable(chain.from_iterable(offsets)), "i8", 2 * sum(n_pieces)
    ).reshape(-1, 2)
    first_piece = np.cumsum([0, *n_pieces])
    # As if the texts stood in one, with a gap between them.
    text_starts = np.cumsum([0, *(int(t[-1].sum()) + 2 for t in tables[:-1])])
    flat += np.repeat(text_starts, n_pieces)[:, np.newaxis]
    token_starts = table[:, 0] + np.repeat(text_starts, n_tokens)
    token_ends = token_starts + table[:, 1]
    # Offsets rise, so the overlapping pieces are one stretch: those that end behind
    # the token's start and start before its end.
    first = np.searchsorted(flat[:, 1], token_starts, side="right")
    lengths = np.searchsorted(flat[:, 0], token_ends, side="left") - first
    own_first = np.repeat(first_piece[:-1], n_tokens)
    bare = lengths <= 0
    # Behind the last piece of a doc lie those of the next.
    first = np.where(bare, np.maximum(first - 1, own_first), first) - own_first
    lengths = np.where(bare, 1, lengths)
    # All pieces of a token after its first one. thinc's kernels take 32-bit integers.
    ends = lengths.cumsum()
    within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    rows: Any = (np.repeat(first, lengths) + within).astype("i")
    counts: Any = lengths.astype("i")
    bounds = np.cumsum([0, *n_tokens])
    row_bounds = np.concatenate([[0], ends])[bounds]
    return [
        Ragged(rows[row_start:row_end], counts[start:end])
        for (row_start, row_end), (start, end) in zip(
            pairwise(row_bounds.tolist()), pairwise(bounds.tolist()), strict=True
        )
    ]


def cut_windows(
    counts: Sequence[int],
    sentences: Sequence[Sequence[int]],
    *,
    size: int,
    stride: int,
) -> list[Window]:
    """Cut docs into windows that together keep each piece once.

    counts (Sequence[int]): The number of pieces of each doc.
    sentences (Sequence[Sequence[int]]): For each doc the pieces with which sentences
        begin, without the first sentence. No window reaches over the end of one.
    size (int): The most pieces a window may have, special ones not counted.
    stride (int): How many pieces on the next window of a sentence starts; size - stride
        pieces are seen twice, and each is kept where it has more context on both sides.
    RETURNS (list[Window]): In the order of docs and pieces.
    """
    windows: list[Window] = []
    for doc, (count, firsts) in enumerate(zip(counts, sentences, strict=True)):
        for first, last in pairwise([0, *firsts, count]):
            starts = list(range(first, max(last - size, first), stride))
            # The last window is moved back so that it is as long as the others.
            starts.append(max(last - size, first))
            ends = [min(start + size, last) for start in starts]
            cuts = [
                (end + after) // 2 for end, after in zip(ends, starts[1:], strict=False)
            ]
            windows.extend(
                Window(doc, start, end, keep_start, keep_end)
                for start, end, keep_start, keep_end in zip(
                    starts, ends, [first, *cuts], [*cuts, last], strict=True
                )
            )
    return windows


def _get_unknown_piece(tokenizer: Any) -> tuple[list[int], list[str], list[Any]]:
    id_ = tokenizer.unk_token_id
    if id_ is None:
        id_ = tokenizer.pad_token_id or 0
    return [id_], [str(tokenizer.convert_ids_to_tokens(id_))], [(0, 0)]
