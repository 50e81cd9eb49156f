"""Which threshold serves labels that are known by their names alone?

    python benchmarks/zero.py $DATA --backbone training/backbone --output metrics/zero

Each set is tagged by `nuner_concepts` with the names of its labels (`--labels`)
at every threshold. The default of the component is the threshold with the best mean
over the sets below; they are development and training files, and none is of the six
sets whose test files `fewshot --k 0` reports. `$DATA/<set>/<file>` has two columns.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import typer
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example
from tqdm import tqdm

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.fewshot.zero_shot import make_tagger, name_labels, read_names
from spacy_nuner.files import replacing
from spacy_nuner.readers.docbin import copy_words

ROOT = Path(__file__).resolve().parents[1]
# Which file of which set; shared with benchmarks/levers.
SETS = json.loads(
    (ROOT / "benchmarks" / "development-sets.json").read_text(encoding="utf8")
)
LISTINGS = ROOT / "assets" / "listings" / "dev.jsonl"
# Steps of half a logit, from 0.01 to 0.73.
THRESHOLDS = [round(float(1 / (1 + np.exp(-x))), 3) for x in np.arange(-4.5, 1.1, 0.5)]
BATCH_SIZE = 64


def main(
    data: Path = typer.Argument(..., help="Folder of labelled sets"),
    backbone: list[Path] = typer.Option(..., help="Backbones with a concept encoder"),
    output: Path = typer.Option(..., help="Folder of results, one JSON a backbone"),
    labels: Path = typer.Option(
        ROOT / "benchmarks" / "labels",
        help="Folder of what labels are called; benchmarks/described says more of them",
    ),
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
            name: score_thresholds(source, labels / f"{name}.json", docs[name])
            for name in tqdm(docs, desc=source.name)
        }
        mean = np.mean(list(scores.values()), axis=0)
        best = int(mean.argmax())
        facts = {
            "backbone": source.name,
            "sentences": {name: len(found) for name, found in docs.items()},
            "thresholds": THRESHOLDS,
            "ents_f": {**scores, "mean": [round(float(x), 4) for x in mean]},
            "best": THRESHOLDS[best],
        }
        with replacing(output / f"{source.name}.json") as beside:
            beside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf8")
        typer.echo(f"{source.name}: best threshold {THRESHOLDS[best]}")
        for name, values in [*scores.items(), ("mean", mean)]:
            row = " ".join(f"{100 * value:5.1f}" for value in values)
            typer.echo(f"  {name:14s} {row}")


def draw(docs: list[Doc], count: int, seed: int) -> list[Doc]:
    """Take some Docs by chance, in their order."""
    order = np.random.default_rng(seed).permutation(len(docs))[:count]
    return [docs[i] for i in sorted(order)]


def score_thresholds(backbone: Path, names: Path, docs: list[Doc]) -> list[float]:
    """Entity F1 at each threshold; the encoder runs once."""
    labels = name_labels(docs, read_names(names))
    nlp = make_tagger(backbone, labels, threshold=None)
    pipe: Any = nlp.get_pipe("nuner_concepts")
    copies = [copy_words(doc, nlp.vocab) for doc in docs]
    logits = []
    for start in range(0, len(copies), BATCH_SIZE):
        logits += pipe.predict(copies[start : start + BATCH_SIZE])
    examples = [Example(x, y) for x, y in zip(copies, docs, strict=True)]
    scores = []
    for threshold in THRESHOLDS:
        pipe.set_calibration(temperature=1.0, threshold=threshold)
        for doc in copies:
            doc.set_ents([], default="missing")
        pipe.set_annotations(copies, logits)
        scores.append(round(float(get_ner_prf(examples)["ents_f"] or 0.0), 4))
    return scores


if __name__ == "__main__":
    typer.run(main)
