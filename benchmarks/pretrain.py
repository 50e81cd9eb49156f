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

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import typer
from steps.machine import DTYPES
from steps.rows import LEVERS, MINILM, SIZES, Bench, Levers, Rate

from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.pretrain.data.features import Features, build_features

ROOT = Path(__file__).resolve().parents[1]


def main(
    corpus: Path = typer.Option(
        None, help="Folder of DocBin shards; assets/annotations converted if not given"
    ),
    rows: int = typer.Option(32, help="Sentences of a step"),
    batches: int = typer.Option(4, help="Steps of a row in a round, on other batches"),
    rounds: int = typer.Option(3, help="How often each row is run"),
    frozen: int = typer.Option(None, help="Frozen layers, half if not given"),
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
                features, tokenizer, SIZES[name], folder / name, rows, batches, frozen
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
