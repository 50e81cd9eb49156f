"""What a recogniser for single sentences finds in documents of many of them.

    python benchmarks/documents.py training/mine/model-last assets/listings/test.jsonl \
        --output metrics/documents/listings.json

Sentences of a labelled set are joined to documents of 2, 5 and 30, by line ends and by
blanks, and tagged with the encoder reading each sentence alone (`by_sentence`, the
default of `spacy_nuner.Backbone.v1`) and in windows of so many word pieces. Entity F1
is that of the same spans whatever the size of the document. With `--labels` the first
argument is a backbone, and `nuner_concepts` looks for the labels by name. Words a
second, from texts to entities, are of one thread, the settings in turns in each round;
the medians of the rounds are reported. Choose on dev files, report on test files.
"""

import bisect
import json
import statistics
import time
from pathlib import Path
from typing import Any

import spacy
import torch
import typer
from spacy.language import Language
from spacy.tokens import Doc

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.models.backbone import find_backbone, get_shim
from spacy_nuner.models.shim import WINDOW
from spacy_nuner.pipeline.labels import read_labels

SIZES = (1, 2, 5, 30)
SEPARATORS = {"line ends": "\n", "blanks": " "}
DEFAULT = "by sentence"
# by_sentence and window.
SETTINGS = {
    DEFAULT: (True, WINDOW),
    **{f"windows of {size}": (False, size) for size in (512, 64, 32)},
}


def main(
    source: str = typer.Argument(help="A saved pipeline, or a backbone with --labels"),
    data: Path = typer.Argument(help="A labelled set of single sentences"),
    output: Path = typer.Option(..., help="The results, a JSON file"),
    labels: Path | None = typer.Option(None, help="JSON of labels to look for by name"),
    sentences: int = typer.Option(300, help="The first so many sentences"),
    rounds: int = typer.Option(3, help="How often words a second are measured"),
) -> None:
    """Measure F1 and words a second."""
    torch.set_num_threads(1)
    nlp = spacy.load(source) if labels is None else make_named(source, labels)
    docs = read_docs(data)[:sentences]
    gold = {
        (i, ent.start_char, ent.end_char, ent.label_)
        for i, doc in enumerate(docs)
        for ent in doc.ents
    }
    texts = [doc.text for doc in docs]
    results: dict[str, Any] = {"data": data.name, "sentences": len(docs), "f1": {}}
    for name, setting in SETTINGS.items():
        set_windows(nlp, *setting)
        for title, separator in SEPARATORS.items():
            row = [score(nlp, texts, gold, size, separator) for size in SIZES]
            results["f1"].setdefault(title, {})[name] = row
            print(f"{name:18} {title:10}", *(f"{f1:5.1f}" for f1 in row), flush=True)
    speeds: dict[str, list[list[float]]] = {name: [] for name in SETTINGS}
    for _ in range(rounds):
        for name, setting in SETTINGS.items():
            set_windows(nlp, *setting)
            speeds[name].append([get_speed(nlp, texts, size) for size in SIZES])
    results["words_per_second"] = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in speeds.items()
    }
    for name, row in results["words_per_second"].items():
        print(f"{name:18} words/s   ", *(f"{speed:5.0f}" for speed in row))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1) + "\n")


def make_named(backbone: str, labels: Path) -> Language:
    """Make a pipeline that looks for labels by name."""
    nlp = spacy.blank("en")
    settings = {"backbone": backbone, "annotate_ents": True}
    pipe: Any = nlp.add_pipe("nuner_concepts", config=settings)
    for label, known in read_labels(labels).items():
        pipe.add_label(label, known.description, name=known.name)
    nlp("one text, so that the encoder is there")
    return nlp


def set_windows(nlp: Language, by_sentence: bool, window: int) -> None:
    """Set how documents are cut, in every backbone of a pipeline."""
    for _, pipe in nlp.components:
        backbone = find_backbone(getattr(pipe, "model", None))
        if backbone is not None:
            shim = get_shim(backbone)
            shim.by_sentence, shim.window = by_sentence, min(window, shim.limit)


def score(
    nlp: Language, texts: list[str], gold: set[Any], size: int, separator: str
) -> float:
    """Entity F1, in points, of texts in documents of so many."""
    found = set()
    first = 0
    for doc in nlp.pipe(join(texts, size, separator)):
        starts = [0]
        for text in texts[first : first + size]:
            starts.append(starts[-1] + len(text) + len(separator))
        for ent in doc.ents:
            i = bisect.bisect_right(starts, ent.start_char) - 1
            start = ent.start_char - starts[i]
            found.add((first + i, start, start + len(ent.text), ent.label_))
        first += size
    return 200 * len(found & gold) / max(len(found) + len(gold), 1)


def get_speed(nlp: Language, texts: list[str], size: int) -> float:
    """Words a second of processor time."""
    docs = join(texts, size, SEPARATORS["line ends"])
    started = time.process_time()
    tagged: list[Doc] = list(nlp.pipe(docs))
    return sum(map(len, tagged)) / (time.process_time() - started)


def join(texts: list[str], size: int, separator: str) -> list[str]:
    """Documents of so many texts."""
    return [
        separator.join(texts[first : first + size])
        for first in range(0, len(texts), size)
    ]


if __name__ == "__main__":
    typer.run(main)
