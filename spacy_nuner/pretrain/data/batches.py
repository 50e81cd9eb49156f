"""Rows -> batches: which rows go together, and the tensors that the model takes."""

import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ...encoders.concept_encoder import pad_pieces
from ...encoders.layers import special_pieces

# Batches whose rows are sorted by length together. More means less padding, fewer
# means more chance in what meets in a batch.
POOL = 8


class LengthBatches(Sampler[list[int]]):
    """Batches of as many rows each, of about the same length.

    What they hold is a function of seed and epoch alone, so a run that is resumed, and
    each process of a run on several devices, sees the same ones. There are as many in
    each epoch, a multiple of `together`: what Trainer does with a remainder depends on
    where a run was interrupted.
    """

    def __init__(
        self, lengths: ArrayLike, batch_size: int, seed: int, together: int = 1
    ) -> None:
        """lengths (ArrayLike): Word pieces of each row. *Shape:* (rows,)

        batch_size (int): The most rows of a batch, over all devices; none has fewer by
            more than one, as long as there is more than one batch.
        seed (int): Of the order.
        together (int): Batches whose gradients are added up. Fewer rows than that make
            a batch each.
        """
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.together = together
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; epochs count from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        rows, together = len(self.lengths), self.together
        steps = math.ceil(rows / (together * self.batch_size))
        return min(steps * together, rows // together * together or rows)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self.lengths))
        size = POOL * self.batch_size
        pools = [order[i : i + size] for i in range(0, len(order), size)]
        # Up and down in turn, so that a batch on the border of two pools has rows of
        # about one length too.
        order = np.concatenate(
            [
                pool[np.argsort(self.lengths[pool], kind="stable")][:: (-1) ** number]
                for number, pool in enumerate(pools)
            ]
        )
        batches = np.array_split(order, len(self))
        for batch in random.permutation(len(self)):
            yield batches[batch].tolist()


class BatchLoader(DataLoader):
    """Loads the same whole batches in every process; the collator takes its share.

    Trainer's own loader would deal out whole batches, or rows without regard to what a
    batch is made of.
    """

    def set_epoch(self, epoch: int) -> None:
        """Choose the order, as Trainer does at the start of each epoch.

        epoch (int): The epoch that starts.
        """
        batches: Any = self.batch_sampler
        batches.set_epoch(epoch)


class Collator:
    """Makes the tensors of a batch: its texts, its distinct concepts, what belongs.

    On several devices each encodes its share of the texts and of the concepts, and
    compares its texts with the concepts of all.
    """

    def __init__(
        self,
        concepts: Dataset,
        tokenizer: Any,
        *,
        description_dropout: float,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """concepts (Dataset): The concept table, with word pieces.

        tokenizer (PreTrainedTokenizerFast): Knows the padding.
        description_dropout (float): Share of concepts given by their name alone.
        rank (int): The device among all, from 0.
        world_size (int): How many devices there are.
        """
        self.concepts = concepts
        self.padding = tokenizer.pad_token_id or 0
        self.description_dropout = description_dropout
        self.rank = rank
        self.world_size = world_size
        before, after = special_pieces(tokenizer)
        self.before, self.after = len(before), len(after)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Put rows together.

        rows (list[dict[str, Any]]): Rows of `Features.texts`, those of all devices.
        RETURNS (dict[str, Any]): The arguments of `ContrastiveModel.forward`. With
            several devices also "weight", the factor that makes the mean of their
            losses the loss of the whole batch.
        """
        distinct = sorted({concept for row in rows for concept in row["concepts"]})
        described = self._choose_described(distinct, rows)
        forms = [2 * c + d for c, d in zip(distinct, described, strict=True)]
        if self.world_size == 1:
            return self._tensors(rows, distinct, forms)
        share = math.ceil(len(distinct) / self.world_size)
        # As many for each device, since that is what can be gathered: the last ones
        # stand in for what is missing, and are cut off there.
        own = range(self.rank * share, (self.rank + 1) * share)
        forms = [forms[min(index, len(forms) - 1)] for index in own]
        mine = rows[self.rank :: self.world_size]
        # A device without a text takes one that counts for nothing.
        batch = self._tensors(mine or rows[:1], distinct, forms)
        weight = self.world_size * self._text_pieces(mine) / self._text_pieces(rows)
        return {**batch, "concept_count": len(distinct), "weight": weight}

    def _tensors(
        self, rows: list[dict[str, Any]], distinct: list[int], forms: list[int]
    ) -> dict[str, Any]:
        """The arguments of `forward`; a form is 2 * concept, plus 1 if described."""
        texts, text_mask = pad_pieces([row["input_ids"] for row in rows], self.padding)
        concepts, concept_mask = pad_pieces(self._concept_pieces(forms), self.padding)
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

    def _text_pieces(self, rows: list[dict[str, Any]]) -> int:
        return sum(row["length"] - self.before - self.after for row in rows)

    def _choose_described(
        self, distinct: list[int], rows: list[dict[str, Any]]
    ) -> list[bool]:
        # Drawn from the batch itself instead of the global random state: the same
        # batch gets the same concepts in a run that was resumed, and on each device.
        texts = np.concatenate([row["input_ids"] for row in rows]).astype(np.int32)
        random = np.random.default_rng(zlib.crc32(texts.tobytes()))
        return (random.random(len(distinct)) >= self.description_dropout).tolist()

    def _concept_pieces(self, forms: list[int]) -> list[list[int]]:
        table = self.concepts[[form // 2 for form in forms]]
        pairs = zip(table["name_ids"], table["described_ids"], strict=True)
        return [pair[form % 2] for form, pair in zip(forms, pairs, strict=True)]

    def _positives(self, rows: list[dict[str, Any]], distinct: list[int]) -> Tensor:
        """Pairs of word piece (counted over the texts of the batch) and concept."""
        column = {concept: index for index, concept in enumerate(distinct)}
        pairs: list[tuple[int, int]] = []
        offset = 0
        for row in rows:
            mentions = zip(row["starts"], row["ends"], row["concepts"], strict=True)
            for start, end, concept in mentions:
                pieces = range(start - self.before, end - self.before)
                pairs += [(offset + piece, column[concept]) for piece in pieces]
            offset += row["length"] - self.before - self.after
        return torch.tensor(pairs, dtype=torch.long).T
