"""Which threshold serves labels that are known by their names alone?

    python benchmarks/zero.py $DATA --backbone training/backbone --output metrics/zero

Each set is tagged by `nuner_concepts` with the names of its labels, and with their
descriptions (`--descriptions`), at every threshold. The default of the component is the
threshold with the best mean over the sets below; they are development and training
files, and none is of the six sets whose test files docs/results.md reports.
`$DATA/<set>/<file>` has two columns.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import typer
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example
from tqdm import tqdm

from spacy_nuner.corpus.labelled_docs import read_docs

ROOT = Path(__file__).resolve().parents[1]
SETS = {
    "wnut17": "dev.conll",
    "bc5cdr": "dev.conll",
    "tweebank-ner": "dev.conll",
    "uner-ewt": "dev.conll",
    "wikigold": "all.conll",
    "bionlp2004": "dev.conll",
    "fewnerd-inter": "train-part1.conll",
}
LISTINGS = ROOT / "assets" / "listings" / "dev.jsonl"
# Steps of half a logit, from 0.01 to 0.73.
THRESHOLDS = [round(float(1 / (1 + np.exp(-x))), 3) for x in np.arange(-4.5, 1.1, 0.5)]
BATCH_SIZE = 64


def main(
    data: Path = typer.Argument(..., help="Folder of labelled sets"),
    backbone: list[Path] = typer.Option(..., help="Backbones with a concept encoder"),
    output: Path = typer.Option(..., help="Folder of results, one JSON a backbone"),
    labels: Path = typer.Option(
        ROOT / "assets" / "labels", help="Folder of what labels are called"
    ),
    descriptions: bool = typer.Option(False, help="Say what each label means, too"),
    sentences: int = typer.Option(200, help="Sentences drawn of each set"),
    seed: int = typer.Option(0, help="Seed of the draw"),
) -> None:
    """Find the threshold with the best mean entity F1 over the development sets."""
    paths = {name: data / name / file for name, file in SETS.items()}
    paths["listings"] = LISTINGS
    docs = {
        name: draw(read_docs(path), sentences, seed) for name, path in paths.items()
    }
    for source in backbone:
        scores = {
            name: score_thresholds(
                source, read_labels(labels / f"{name}.json", descriptions), docs[name]
            )
            for name in tqdm(docs, desc=source.name)
        }
        mean = np.mean(list(scores.values()), axis=0)
        best = int(mean.argmax())
        result = {
            "backbone": source.name,
            "sentences": {name: len(found) for name, found in docs.items()},
            "thresholds": THRESHOLDS,
            "ents_f": {**scores, "mean": [round(float(x), 4) for x in mean]},
            "best": THRESHOLDS[best],
        }
        output.mkdir(parents=True, exist_ok=True)
        path = output / f"{source.name}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf8")
        typer.echo(f"{source.name}: best threshold {THRESHOLDS[best]}")
        for name, values in [*scores.items(), ("mean", mean)]:
            row = " ".join(f"{100 * value:5.1f}" for value in values)
            typer.echo(f"  {name:14s} {row}")


def draw(docs: list[Doc], count: int, seed: int) -> list[Doc]:
    """Take some Docs by chance, in their order."""
    order = np.random.default_rng(seed).permutation(len(docs))[:count]
    return [docs[i] for i in sorted(order)]


def read_labels(path: Path, descriptions: bool) -> dict[str, dict[str, str]]:
    """What labels are called, and what they mean if that is asked for."""
    labels = json.loads(path.read_text(encoding="utf8"))
    keys = ("name", "description") if descriptions else ("name",)
    return {label: {key: said[key] for key in keys} for label, said in labels.items()}


def score_thresholds(
    backbone: Path, labels: dict[str, dict[str, str]], docs: list[Doc]
) -> list[float]:
    """Entity F1 at each threshold; the encoder runs once."""
    nlp = spacy.blank("xx")
    config = {"backbone": str(backbone), "labels": labels, "annotate_ents": True}
    pipe: Any = nlp.add_pipe("nuner_concepts", config=config)
    copies = [
        Doc(nlp.vocab, [t.text for t in doc], [bool(t.whitespace_) for t in doc])
        for doc in docs
    ]
    logits = []
    for start in range(0, len(copies), BATCH_SIZE):
        logits += pipe.predict(copies[start : start + BATCH_SIZE])
    examples = [Example(x, y) for x, y in zip(copies, docs, strict=True)]
    scores = []
    for threshold in THRESHOLDS:
        pipe.threshold = threshold
        for doc in copies:
            doc.set_ents([], default="missing")
        pipe.set_annotations(copies, logits)
        scores.append(round(float(get_ner_prf(examples)["ents_f"] or 0.0), 4))
    return scores


if __name__ == "__main__":
    typer.run(main)
