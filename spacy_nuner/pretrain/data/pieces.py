"""Texts and character spans -> rows of word pieces, long texts cut into windows."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...sentences import CLOSING, SENTENCE_FINAL

# These need no blank behind them.
FULL_WIDTH_FINAL = ("。", "！", "？", "｡")


class Mention(NamedTuple):
    """A mention; the end is exclusive."""

    start: int
    end: int
    concept: int


class AnnotatedText(NamedTuple):
    """A text and its mentions in characters."""

    text: str
    spans: list[Mention]


@dataclass
class PieceCounts:
    """What was cut and what was lost."""

    windows: int = 0
    """Rows for training: texts, or parts of those over the length limit."""
    texts_cut: int = 0
    """Texts over the length limit."""
    windows_without_concepts: int = 0
    """Parts of such texts that were left out, because they hold no mention."""
    word_pieces: int = 0
    """Word pieces in the rows, special ones not counted."""
    mentions: int = 0
    """Mentions in the rows."""
    mentions_cut: int = 0
    """Mentions longer than a window, which go on in the next one."""
    mentions_without_pieces: int = 0
    """Mentions lost: the tokenizer has no word piece for them, as for white space."""


class Windower:
    """Turns annotated texts into rows; counts what happens to them."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        """tokenizer (PreTrainedTokenizerFast): Cuts texts into word pieces.

        max_length (int): Word pieces of a row, special ones included.
        """
        # Here and not above: a process that gets a pickled windower needs no
        # transformers.
        from ...encoders.layers import special_pieces

        self.tokenizer = tokenizer
        self.before, self.after = special_pieces(tokenizer)
        self.limit = max_length - len(self.before) - len(self.after)
        self.counts = PieceCounts()

    def __call__(self, texts: list[AnnotatedText]) -> Iterator[dict[str, Any]]:
        """Cut texts into rows.

        texts (list[AnnotatedText]): Some texts.
        YIELDS (dict[str, Any]): "input_ids" with special word pieces, "starts", "ends"
            and "concepts" of the mentions as indices of them, "length", and
            "text_hash", 32 bits of a hash of the whole text.
        """
        if not texts:
            return
        encoded = self.tokenizer(
            [text.text for text in texts],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            # "<s>" in a web page is text, not the start of a sequence.
            split_special_tokens=True,
            # Too long for the encoder is what the windows are for.
            verbose=False,
        )
        for index, text in enumerate(texts):
            spans = self._in_pieces(text.spans, encoded["offset_mapping"][index])
            ids = encoded["input_ids"][index]
            windows = [(0, len(ids))]
            if len(ids) > self.limit:
                self.counts.texts_cut += 1
                ends = sentence_ends(text.text, encoded["offset_mapping"][index])
                words = encoded.word_ids(index)
                windows = cut(len(ids), self.limit, spans, words, ends)
            # Not a checksum, which spreads texts that differ in a digit alone unevenly.
            data = text.text.encode("utf8", "surrogatepass")
            digest = hashlib.blake2b(data, digest_size=4).digest()
            for row in self._rows(ids, spans, windows):
                yield {**row, "text_hash": int.from_bytes(digest)}

    def _in_pieces(
        self, spans: Iterable[Mention], offsets: list[tuple[int, int]]
    ) -> list[Mention]:
        starts, ends = np.reshape(offsets, (-1, 2)).T
        found = []
        for span in spans:
            # Word pieces that share a character with the span. Comparing both ends
            # makes blanks that a byte-level piece carries in front do no harm.
            first = int(np.searchsorted(ends, span.start, side="right"))
            last = int(np.searchsorted(starts, span.end, side="left"))
            if first < last:
                found.append(Mention(first, last, span.concept))
            else:
                self.counts.mentions_without_pieces += 1
        self.counts.mentions += len(found)
        return found

    def _rows(
        self, ids: list[int], spans: list[Mention], windows: list[tuple[int, int]]
    ) -> Iterator[dict[str, Any]]:
        shift = len(self.before)
        parts = 0
        for start, end in windows:
            inside = [
                Mention(max(s.start, start), min(s.end, end), s.concept)
                for s in spans
                if s.start < end and s.end > start
            ]
            parts += len(inside)
            if not inside:
                self.counts.windows_without_concepts += 1
                continue
            self.counts.windows += 1
            self.counts.word_pieces += end - start
            row = [*self.before, *ids[start:end], *self.after]
            yield {
                "input_ids": row,
                "starts": [s.start - start + shift for s in inside],
                "ends": [s.end - start + shift for s in inside],
                "concepts": [s.concept for s in inside],
                "length": len(row),
            }
        self.counts.mentions_cut += parts - len(spans)


def sentence_ends(text: str, offsets: list[tuple[int, int]]) -> list[int]:
    """Find where sentences end: by punctuation with a blank behind it, or 。 and such.

    text (str): The text.
    offsets (list[tuple[int, int]]): Start and end of each word piece in characters.
    RETURNS (list[int]): The number of word pieces before each end.
    """
    found = []
    for count, (before, after) in enumerate(pairwise(offsets), start=1):
        # Byte-level pieces carry the blank in front themselves.
        between = text[before[1] : after[0] + 1][:1]
        ended = text[max(before[1] - 4, 0) : before[1]].rstrip(CLOSING)
        spaced = between.isspace() and ended.endswith(SENTENCE_FINAL)
        if spaced or ended.endswith(FULL_WIDTH_FINAL):
            found.append(count)
    return found


def cut(
    length: int,
    limit: int,
    spans: Iterable[Mention],
    words: list[int | None],
    sentences: list[int],
) -> list[tuple[int, int]]:
    """Cut a long row of word pieces into windows.

    length (int): Word pieces of the text.
    limit (int): Word pieces of a window at most.
    spans (Iterable[Mention]): Mentions in word pieces.
    words (list[int | None]): The word that each word piece is of.
    sentences (list[int]): The number of word pieces before each end of a sentence.
    RETURNS (list[tuple[int, int]]): Start and end of each window: at the last end of a
        sentence in the second half of what fits, else between mentions and words. A
        mention is cut only if the window has no border outside all mentions.
    """
    in_mention = np.zeros(length + 1, dtype=bool)
    for span in spans:
        in_mention[span.start + 1 : span.end] = True
    in_word = np.zeros(length + 1, dtype=bool)
    in_word[1:length] = [a == b for a, b in zip(words[:-1], words[1:], strict=True)]
    in_sentence = np.ones(length + 1, dtype=bool)
    in_sentence[sentences] = False
    windows = []
    start = 0
    while length - start > limit:
        borders = np.arange(start + 1, start + limit + 1)
        half = borders[limit // 2 :]
        for among, blocked in (
            (half, in_mention | in_word | in_sentence),
            (borders, in_mention | in_word),
            (borders, in_mention),
        ):
            free = among[~blocked[among]]
            if free.size:
                break
        end = int(free[-1]) if free.size else start + limit
        windows.append((start, end))
        start = end
    return [*windows, (start, length)]
