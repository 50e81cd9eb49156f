"""Rows -> batches: which rows go together, and the tensors that the model takes."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Sampler

from ..encoder import special_pieces
from .encoders import pad_pieces

# Batches whose rows are sorted by length together. More means less padding, fewer
# means more chance in what meets in a batch.
POOL = 8


class LengthSampler(Sampler[int]):
    """An order of rows in which those of a batch have about the same length.

    The order is a function of seed and epoch alone, so a run that is resumed, and each
    process of a run on several devices, sees the same one.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """lengths (Sequence[int]): Word pieces of each row. *Shape:* (rows,)

        batch_size (int): Rows of a batch, over all devices.
        seed (int): Of the order.
        """
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order.

        epoch (int): The epoch that starts.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        size = self.batch_size
        pools = [order[i : i + POOL * size] for i in range(0, len(order), POOL * size)]
        order = np.concatenate([pool[np.argsort(self.lengths[pool])] for pool in pools])
        # Whole batches change places; what is left over stays at the end, or it would
        # shift the borders of all batches behind it.
        whole = len(order) // size * size
        batches = random.permutation(order[:whole].reshape(-1, size))
        yield from batches.ravel().tolist()
        yield from order[whole:].tolist()


class Collator:
    """Makes the tensors of a batch: its texts, its distinct concepts, what belongs."""

    def __init__(
        self, concepts: Dataset, tokenizer: Any, *, description_dropout: float
    ) -> None:
        """concepts (Dataset): The concept table, with word pieces.

        tokenizer (PreTrainedTokenizerFast): Knows the padding.
        description_dropout (float): Share of concepts given by their name alone.
        """
        self.concepts = concepts
        self.padding = tokenizer.pad_token_id
        self.description_dropout = description_dropout
        before, after = special_pieces(tokenizer)
        self.before, self.after = len(before), len(after)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Put rows together.

        rows (list[dict[str, Any]]): Rows of `Features.texts`.
        RETURNS (dict[str, Tensor]): The arguments of `ContrastiveModel.forward`.
        """
        texts, text_mask = pad_pieces([row["input_ids"] for row in rows], self.padding)
        distinct = sorted({concept for row in rows for concept in row["concepts"]})
        concepts, concept_mask = pad_pieces(
            self._concept_pieces(distinct, texts), self.padding
        )
        is_text = torch.zeros_like(texts, dtype=torch.bool)
        for mask, row in zip(is_text, rows, strict=True):
            mask[self.before : row["length"] - self.after] = True
        return {
            "input_ids": texts,
            "attention_mask": text_mask,
            "is_text": is_text,
            "concept_ids": concepts,
            "concept_mask": concept_mask,
            "positives": self._positives(rows, distinct),
        }

    def _concept_pieces(self, distinct: list[int], texts: Tensor) -> list[list[int]]:
        # Drawn from the batch itself instead of the global random state: the same
        # batch gets the same concepts in a run that was resumed.
        random = np.random.default_rng(zlib.crc32(texts.numpy().tobytes()))
        by_name = random.random(len(distinct)) < self.description_dropout
        table = self.concepts[distinct]
        return [
            name if alone else described
            for name, described, alone in zip(
                table["name_ids"], table["described_ids"], by_name, strict=True
            )
        ]

    def _positives(self, rows: list[dict[str, Any]], distinct: list[int]) -> Tensor:
        """Pairs of word piece (counted over the texts of the batch) and concept."""
        column = {concept: index for index, concept in enumerate(distinct)}
        pairs: list[tuple[int, int]] = []
        offset = 0
        for row in rows:
            mentions = zip(row["starts"], row["ends"], row["concepts"], strict=True)
            for start, end, concept in mentions:
                places = range(start - self.before, end - self.before)
                pairs += [(offset + place, column[concept]) for place in places]
            offset += row["length"] - self.before - self.after
        return torch.tensor(pairs, dtype=torch.long).T
