"""What memory a packaged pipeline takes over a long stream of docs in one process.

    python benchmarks/soak.py --output metrics/soak.json

A pipeline of `nuner_concepts` is packaged as `spacy package` does it, loaded from the
package, and gets 200,000 docs of one to some hundred words. Printed is a table of ten
parts: the memory of the process (resident set), how much of it glibc's allocator has
given out and how much it holds free, and how many strings spaCy's vocabulary has. It
ends with code 1 if after the first part memory was ever more than 5% above that part.

`--words new` puts a word into each doc that no doc had before, as a stream of real text
does for years: spaCy keeps each distinct word. What the environment says of allocator
and oneDNN is read by them when the process starts, so it is set outside:

    MALLOC_ARENA_MAX=1 ONEDNN_PRIMITIVE_CACHE_CAPACITY=64 python benchmarks/soak.py ...

Linux only; without glibc two columns are missing.
"""

import ctypes
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from enum import StrEnum
from itertools import count, islice
from pathlib import Path
from typing import Any

import typer

from spacy_nuner.memory import return_free_memory

ROOT = Path(__file__).resolve().parents[1]
PARTS = 10
LIMIT = 0.05
CONCEPTS = (
    *("person", "city", "country", "company", "product", "date", "price", "event"),
    *("animal", "food", "vehicle", "job title", "disease", "film", "sport", "weapon"),
)
ENVIRONMENT = (
    *("MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"),
    *("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "OMP_NUM_THREADS", "LD_PRELOAD"),
)


class Words(StrEnum):
    """What the docs are made of."""

    same = "same"
    new = "new"


class Mallinfo(ctypes.Structure):
    """What `mallinfo2` of glibc returns, all in bytes or numbers of chunks."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks"),
            *("fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def main(
    output: Path = typer.Option(..., help="The results, a JSON file"),
    backbone: str = typer.Option("default", help="The encoder of the pipeline"),
    docs: int = typer.Option(200_000, help="How many docs", min=PARTS),
    words: Words = typer.Option(
        Words.same, help="Whether the words come again, or each doc has one of its own"
    ),
    precision: str = typer.Option(
        "fp32", help="How the encoder computes: auto, bf16, fp32 or int8"
    ),
    trim_every: int = typer.Option(
        0, help="Have glibc return free memory after so many docs, 0 for never"
    ),
    data: Path = typer.Option(
        ROOT.parent / "shared" / "data",
        envvar="SPACY_NUNER_DATA",
        help="Folder with raw-text/ewt-train.jsonl; without it, texts of assets/",
    ),
) -> None:
    """Measure the memory of a long run."""
    with tempfile.TemporaryDirectory() as folder:
        nlp = load_packaged(Path(folder), backbone, precision)
        texts = islice(make_texts(read_sentences(data), words), docs)
        parts = [measure(nlp, 0, 0.0)]
        size, started = docs // PARTS, time.perf_counter()
        for number, _ in enumerate(nlp.pipe(texts), start=1):
            if trim_every and number % trim_every == 0:
                return_free_memory()
            if number % size == 0:
                parts.append(measure(nlp, number, time.perf_counter() - started))
                typer.echo(make_row(parts[-1]), err=True)
    return_free_memory()
    trimmed = measure(nlp, docs, time.perf_counter() - started)
    first, later = parts[1]["rss"], [part["rss"] for part in parts[2:]]
    grown = max(later) / first - 1
    result = {
        "docs": docs,
        "words": words,
        "precision": precision,
        "trim_every": trim_every,
        "environment": {name: os.environ.get(name) for name in ENVIRONMENT},
        "parts": parts,
        "trimmed": trimmed,
        "grown": grown,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf8")
    typer.echo("| docs | MB | given out | held free | strings | docs/s |")
    typer.echo("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for part in parts:
        typer.echo(make_row(part))
    typer.echo(
        f"\nAfter the first tenth at most {grown:+.1%}; "
        f"{trimmed['rss']:,.0f} MB after malloc_trim."
    )
    if grown > LIMIT:
        raise typer.Exit(1)


def load_packaged(folder: Path, backbone: str, precision: str) -> Any:
    """Make a pipeline, package it, and load it from the package."""
    import spacy
    from spacy.cli.package import package

    nlp = spacy.blank("en")
    tok2vec = {
        "@architectures": "spacy_nuner.Tok2VecBackbone.v1",
        "name": backbone,
        "pooling": {"@layers": "reduce_first.v1"},
        "precision": precision,
    }
    model = {"@architectures": "spacy_nuner.ConceptTagger.v1", "tok2vec": tok2vec}
    config = {"model": model, "backbone": backbone, "labels": list(CONCEPTS)}
    nlp.add_pipe("nuner_concepts", config=config)
    nlp.initialize()
    nlp.meta["name"], nlp.meta["version"] = "soak", "0.0.0"
    nlp.to_disk(folder / "model")
    package(folder / "model", folder, create_sdist=False, create_wheel=False)
    made = folder / "en_soak-0.0.0"
    # As its setup.py does it for a wheel.
    shutil.copy(made / "meta.json", made / "en_soak")
    sys.path.insert(0, str(made))
    return importlib.import_module("en_soak").load()


def read_sentences(data: Path) -> list[str]:
    """Sentences of the English Web Treebank, or of the package's own annotations."""
    paths = [data / "raw-text" / "ewt-train.jsonl"]
    if not paths[0].is_file():
        paths = sorted((ROOT / "assets" / "annotations").glob("*.jsonl"))
    lines = [line for path in paths for line in path.read_text("utf8").splitlines()]
    return [json.loads(line)["text"] for line in lines]


def make_texts(sentences: list[str], words: str) -> Iterator[str]:
    """Texts of one to some hundred words, half of them below seven; the same texts in
    each run.
    """
    draw = random.Random(0)
    for number in count():
        length = max(1, round(draw.lognormvariate(1.9, 0.8)))
        pieces: list[str] = []
        while len(pieces) < length:
            pieces += draw.choice(sentences).split()
        text = " ".join(pieces[:length])
        yield f"{text} zx{number:x}q" if words == "new" else text


def measure(nlp: Any, docs: int, seconds: float) -> dict[str, Any]:
    """What the process has at this point; sizes in MB."""
    status = Path("/proc/self/status").read_text("ascii")
    rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    found: dict[str, Any] = {
        "docs": docs,
        "rss": int(rss.split()[1]) * 1024 / 1e6,
        "strings": len(nlp.vocab.strings),
        "seconds": round(seconds, 1),
    }
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return found
    mallinfo.restype = Mallinfo
    info = mallinfo()
    found["given_out"] = (info.uordblks + info.hblkhd) / 1e6
    found["held_free"] = info.fordblks / 1e6
    return found


def make_row(part: dict[str, Any]) -> str:
    """A line of the table."""
    sizes = [f"{part[key]:,.0f}" if key in part else "" for key in SIZES]
    speed = part["docs"] / part["seconds"] if part["seconds"] else 0.0
    return (
        f"| {part['docs']:,} | {' | '.join(sizes)} | {part['strings']:,} "
        f"| {speed:,.0f} |"
    )


SIZES = ("rss", "given_out", "held_free")

if __name__ == "__main__":
    typer.run(main)
