"""The encoder of concepts: one vector for a name and a description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..errors import Errors, NunerError
from .batching import batch_by_length
from .folder import CONCEPT_ENCODER, INFO_FILE, read_whole_info
from .layers import load_encoder, max_pieces, special_pieces

Pooling = Literal["mean", "cls"]

# Groups of like length that the concepts of a batch are encoded in. More have less
# padding, but the gradients of all weights are added up once more for each.
LENGTH_GROUPS = 3
# Word pieces that are encoded at once where no gradient is needed.
BATCH_PIECES = 2048


def concept_text(template: str, name: str, description: str | None) -> str:
    """Write a concept as the text that its encoder reads.

    template (str): With {name} and {description}.
    name (str): The name of the concept.
    description (str | None): What it means, if that is known.
    RETURNS (str): The filled template, or the name alone.
    """
    return template.format(name=name, description=description) if description else name


def pad_pieces(ids: Sequence[list[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Bring rows of word pieces to the length of the longest.

    ids (Sequence[list[int]]): Word pieces of each row.
    padding (int): Id of the padding piece.
    RETURNS (tuple[Tensor, Tensor]): Ids, and 1 at word pieces, 0 at padding.
        *Shape:* (rows, longest)
    """
    rows = [torch.tensor(row) for row in ids]
    padded = pad_sequence(rows, batch_first=True, padding_value=padding)
    lengths = torch.tensor([len(row) for row in ids])
    mask = torch.arange(padded.shape[1]) < lengths.unsqueeze(1)
    return padded, mask.long()


def group_sizes(lengths: np.ndarray, groups: int) -> list[int]:
    """Cut sorted lengths into groups with as little padding as can be.

    lengths (np.ndarray): From the shortest to the longest. *Shape:* (rows,)
    groups (int): How many groups at most.
    RETURNS (list[int]): Rows of each group.
    """
    values, counts = np.unique(lengths, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(counts)])
    # Word pieces with padding of a group from behind one end to another.
    cost = (ends - ends[:, None]) * np.concatenate([[0], values]).astype(float)
    cost[ends[:, None] > ends] = np.inf
    best, starts = cost[0], []
    for _ in range(groups - 1):
        with_one_more = best[:, None] + cost
        starts.append(with_one_more.argmin(0))
        best = with_one_more.min(0)
    end, borders = len(values), [len(lengths)]
    for start in reversed(starts):
        end = start[end]
        borders.append(ends[end])
    sizes = np.diff([0, *reversed(borders)])
    return [int(size) for size in sizes if size]


class ConceptEncoder(nn.Module):
    """One vector for a concept, from its name and description."""

    def __init__(
        self,
        encoder: Any,
        tokenizer: Any,
        *,
        pooling: Pooling,
        template: str,
        max_length: int,
    ) -> None:
        """encoder (PreTrainedModel): An encoder of the transformers library.

        tokenizer (PreTrainedTokenizerFast): Its tokenizer.
        pooling (str): "mean" of all word pieces, or "cls": the first one.
        template (str): How name and description become a text.
        max_length (int): Word pieces of a concept that are read; the rest is cut.
        """
        super().__init__()
        self.encoder: Any = encoder
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.template = template
        self.max_length = max_length

    @classmethod
    def from_folder(cls, folder: str | Path) -> ConceptEncoder:
        """Load the concept encoder of a backbone folder.

        folder (str | Path): The backbone folder.
        RETURNS (ConceptEncoder): In evaluation mode.
        RAISES (NunerError): What `read_whole_info` and `load_encoder` raise; N303 if
            it takes fewer word pieces than `nuner.json` says.
        """
        info = read_whole_info(folder)
        tokenizer, encoder = load_encoder(Path(folder) / CONCEPT_ENCODER)
        special = sum(map(len, special_pieces(tokenizer)))
        limit = max_pieces(tokenizer, encoder)
        if not special < info.max_concept_length <= limit:
            reason = (
                f"max_concept_length is {info.max_concept_length}, and the concept "
                f"encoder takes up to {limit} word pieces"
            )
            path = Path(folder) / INFO_FILE
            raise NunerError(Errors.N303, path=path, reason=reason)
        made = cls(
            encoder,
            tokenizer,
            pooling=info.pooling,
            template=info.template,
            max_length=info.max_concept_length,
        )
        return made.eval()

    def pieces(
        self,
        names: Sequence[str],
        descriptions: Sequence[str | None] | None = None,
        *,
        whole: bool = False,
    ) -> list[list[int]]:
        """Cut concepts into word pieces.

        names (Sequence[str]): The names.
        descriptions (Sequence[str | None] | None): One for each name, empty or None
            where there is none; None for no descriptions.
        whole (bool): Also what is longer than the encoder takes.
        RETURNS (list[list[int]]): Ids of each concept, special pieces included.
        """
        if not names:
            return []
        descriptions = descriptions or [None] * len(names)
        texts = [
            concept_text(self.template, name, description)
            for name, description in zip(names, descriptions, strict=True)
        ]
        return self.tokenizer(
            texts,
            truncation=not whole,
            max_length=None if whole else self.max_length,
            split_special_tokens=True,
        )["input_ids"]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode concepts.

        input_ids (Tensor): Word pieces. *Shape:* (concepts, longest)
        attention_mask (Tensor): 1 at word pieces, 0 at padding. *Shape:* as above
        RETURNS (Tensor): One vector a concept. *Shape:* (concepts, width)
        """
        # Names are short and descriptions long: in one piece most would be padding.
        lengths = attention_mask.sum(1)
        order = lengths.argsort()
        sizes = group_sizes(lengths[order].cpu().numpy(), LENGTH_GROUPS)
        pooled = []
        for rows in order.split(sizes):
            longest = int(lengths[rows[-1]])
            mask = attention_mask[rows, :longest]
            hidden = self.encoder(
                input_ids=input_ids[rows, :longest], attention_mask=mask
            ).last_hidden_state
            pooled.append(self._pool(hidden, mask))
        return torch.cat(pooled)[order.argsort()]

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "cls":
            return hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)

    @torch.inference_mode()
    def encode(
        self,
        names: Sequence[str],
        descriptions: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Encode concepts by name, with or without a description.

        names (Sequence[str]): Names, cleaned as those of the training corpus were.
        descriptions (Sequence[str | None] | None): As for `pieces`.
        RETURNS (np.ndarray): One vector a concept, fp32. *Shape:* (n, width)
        """
        ids = self.pieces(names, descriptions)
        vectors = np.zeros((len(ids), self.encoder.config.hidden_size), dtype="float32")
        device = self.encoder.device
        was_training = self.training
        self.eval()
        for rows in batch_by_length([len(one) for one in ids], max_size=BATCH_PIECES):
            padded, mask = pad_pieces(
                [ids[i] for i in rows], self.tokenizer.pad_token_id or 0
            )
            pooled = self(padded.to(device), mask.to(device))
            vectors[rows] = pooled.float().cpu().numpy()
        self.train(was_training)
        return vectors
