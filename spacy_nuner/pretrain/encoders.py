"""The two encoders of pre-training and the similarity between what they give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..encoder import freeze, load_encoder, set_training
from ..errors import NunerError
from .backbone import CONCEPT_ENCODER, INFO_FILE, read_info
from .devices import gather_vectors
from .objective import Objective, dense_targets

Pooling = Literal["mean", "cls"]

# Groups of like length that the concepts of a batch are encoded in.
LENGTH_GROUPS = 4


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
        RAISES (NunerError): N304 if the folder has no concept encoder; what
            `read_info` and `load_encoder` raise.
        """
        info = read_info(folder)
        if info is None or not (Path(folder) / CONCEPT_ENCODER).is_dir():
            missing = INFO_FILE if info is None else CONCEPT_ENCODER
            raise NunerError("N304", path=folder, missing=missing)
        tokenizer, encoder = load_encoder(Path(folder) / CONCEPT_ENCODER)
        made = cls(
            encoder,
            tokenizer,
            pooling=info.pooling,
            template=info.template,
            max_length=info.max_concept_length,
        )
        return made.eval()

    def pieces(
        self, names: Sequence[str], descriptions: Sequence[str | None] | None = None
    ) -> list[list[int]]:
        """Cut concepts into word pieces.

        names (Sequence[str]): The names.
        descriptions (Sequence[str | None] | None): As many descriptions, empty or None
            where there is none; None if there are none at all.
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
            truncation=True,
            max_length=self.max_length,
            split_special_tokens=True,
        )["input_ids"]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode concepts.

        input_ids (Tensor): Word pieces. *Shape:* (concepts, pieces)
        attention_mask (Tensor): 1 at word pieces, 0 at padding. *Shape:* as above
        RETURNS (Tensor): One vector a concept. *Shape:* (concepts, width)
        """
        # Names are short and descriptions long: by groups of like length the padding
        # of a batch is half of what it is in one piece.
        order = attention_mask.sum(1).argsort()
        pooled = [
            self._pool(input_ids[rows], attention_mask[rows])
            for rows in order.chunk(LENGTH_GROUPS)
        ]
        return torch.cat(pooled)[order.argsort()]

    def _pool(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        longest = int(attention_mask.sum(1).max())
        mask = attention_mask[:, :longest]
        hidden = self.encoder(
            input_ids=input_ids[:, :longest], attention_mask=mask
        ).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)

    @torch.inference_mode()
    def encode(
        self,
        names: Sequence[str],
        descriptions: Sequence[str | None] | None = None,
        *,
        batch_size: int = 64,
    ) -> np.ndarray:
        """Encode concepts by name, with or without a description.

        names (Sequence[str]): Names, cleaned as those of the training corpus were.
        descriptions (Sequence[str | None] | None): As for `pieces`.
        batch_size (int): Concepts encoded at once.
        RETURNS (np.ndarray): One vector a concept, fp32. *Shape:* (n, width)
        """
        ids = self.pieces(names, descriptions)
        # By length, so that short names are not padded to the longest description.
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        vectors = np.zeros((len(ids), self.encoder.config.hidden_size), dtype="float32")
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            padded, mask = pad_pieces(
                [ids[i] for i in rows], self.tokenizer.pad_token_id
            )
            pooled = self(padded.to(device), mask.to(device))
            vectors[rows] = pooled.float().cpu().numpy()
        self.train(was_training)
        return vectors


class Similarity(nn.Module):
    """logit = scale * (h . w) / sqrt(width) + bias, with learned scale and bias."""

    def __init__(self, *, scale: float, bias: float) -> None:
        """scale (float): Factor to start from. bias (float): Offset to start from."""
        super().__init__()
        # Of one element each, since FSDP takes no scalars.
        self.scale = nn.Parameter(torch.tensor([scale]))
        self.bias = nn.Parameter(torch.tensor([bias]))

    def forward(self, token_vectors: Tensor, concept_vectors: Tensor) -> Tensor:
        """Compare every word piece with every concept.

        token_vectors (Tensor): *Shape:* (pieces, width)
        concept_vectors (Tensor): *Shape:* (concepts, width)
        RETURNS (Tensor): Logits. *Shape:* (pieces, concepts)
        """
        products = (token_vectors @ concept_vectors.T).float()
        return self.scale * products / token_vectors.shape[1] ** 0.5 + self.bias


class ContrastiveModel(nn.Module):
    """Text encoder and concept encoder, trained to agree on what belongs together."""

    def __init__(
        self,
        text_encoder: nn.Module,
        concept_encoder: ConceptEncoder,
        similarity: Similarity,
        objective: Objective,
        *,
        frozen_layers: int,
    ) -> None:
        """text_encoder (nn.Module): What becomes the backbone.

        concept_encoder (ConceptEncoder): Encodes the concepts of the batch.
        similarity (Similarity): Compares the two.
        objective (Objective): The loss, from logits and targets.
        frozen_layers (int): Bottom layers of both encoders that are not trained; the
            embeddings are frozen with them. 0 trains everything.
        """
        super().__init__()
        self.text_encoder = text_encoder
        self.concept_encoder = concept_encoder
        self.similarity = similarity
        self.objective = objective
        self.frozen_layers = frozen_layers
        for encoder in (text_encoder, concept_encoder.encoder):
            freeze(encoder, frozen_layers, embeddings=frozen_layers > 0)
            # Its output is not used; gradients that never come confuse DDP.
            if getattr(encoder, "pooler", None) is not None:
                encoder.pooler.requires_grad_(False)

    def train(self, mode: bool = True) -> ContrastiveModel:
        """Switch dropout on or off; frozen parts stay without.

        mode (bool): Whether to train.
        RETURNS (ContrastiveModel): Itself.
        """
        super().train(mode)
        if mode:
            set_training(self.text_encoder)
            set_training(self.concept_encoder.encoder)
        return self

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        is_text: Tensor,
        concept_ids: Tensor,
        concept_mask: Tensor,
        positives: Tensor,
        concept_count: int | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        input_ids (Tensor): Word pieces of the texts. *Shape:* (batch, seq)
        attention_mask (Tensor): 0 at padding. *Shape:* (batch, seq)
        is_text (Tensor): True at word pieces of the text itself, False at padding and
            special pieces. *Shape:* (batch, seq)
        concept_ids (Tensor): Word pieces of the batch's distinct concepts.
            *Shape:* (concepts, concept_seq)
        concept_mask (Tensor): 0 at padding. *Shape:* (concepts, concept_seq)
        positives (Tensor): Pairs that belong together: index among the pieces where
            `is_text`, index of the concept. *Shape:* (2, pairs)
        concept_count (int | None): How many concepts the batch has over all devices,
            of which this one got its share; None if it got all.
        RETURNS (dict[str, Tensor]): "loss". *Shape:* ()
        """
        hidden = self.text_encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        # Frozen layers need no `no_grad` of their own: nothing below the first trained
        # layer asks for a gradient, so autograd keeps no graph of it.
        concepts = self.concept_encoder(concept_ids, concept_mask)
        if concept_count is not None:
            concepts = gather_vectors(concepts, concept_count)
        logits = self.similarity(hidden[is_text], concepts)
        targets = dense_targets(positives, *logits.shape)
        return {"loss": self.objective(logits, targets)}
