"""How the time of readers and aligner grows with the size of what they get.

    python benchmarks/growth.py --output metrics/growth.json

Files of a quarter of a megabyte and of a megabyte, of shapes that have been slow or
might be, are read as `convert` reads them (rows, answers, tokens, spans) and, where
there may be texts in them, as `apply` does (rows, tokens). Of each the processor time
is given in seconds, the better of the rounds. Four times the input may take four times
as long: the script ends with code 1 if a shape takes more than eight times as long and
a second or more. (`benchmarks/answers.py` has answers of a megabyte, and a sentence.)
"""

import gzip
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import spacy
import typer
from spacy.tokens import DocBin, Span, SpanGroup

from spacy_nuner.corpus.row_to_doc import ConvertSettings, process
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources, plain_suffix
from spacy_nuner.readers.texts import (
    JSON_SUFFIXES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    read_texts,
)
from spacy_nuner.tokenizers import Tokenize, make_tokenizer

# A row has a megabyte at most.
SIZES = (240_000, 960_000)
MOST, SECONDS = 8.0, 1.0
Shape = Callable[[int], bytes]
Read = Callable[[Path, Tokenize], None]


def main(
    output: Path = typer.Option(..., help="The results, a JSON file"),
    rounds: int = typer.Option(2, help="How often each file is read", min=1),
    only: str = typer.Option("", help="Shapes whose names have these words in them"),
    sizes: tuple[int, int] = typer.Option(SIZES, help="The two sizes in bytes"),
) -> None:
    """Measure time against size."""
    tokenize = make_tokenizer("en")
    found: dict[str, Any] = {}
    typer.echo("| shape | a quarter, s | the whole, s | times |\n|---|---:|---:|---:|")
    for name, shape in SHAPES.items():
        if only not in name:
            continue
        for way, read in WAYS.items():
            few, many = (
                min(measure(read, name, shape(size), tokenize) for _ in range(rounds))
                for size in sizes
            )
            times = many / max(few, 1e-6)
            found[f"{name}{way}"] = {"few": few, "many": many, "times": times}
            typer.echo(f"| {name}{way} | {few:.2f} | {many:.2f} | {times:.1f} |")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf8")
    if any(one["times"] > MOST and one["many"] >= SECONDS for one in found.values()):
        raise typer.Exit(1)


def measure(read: Read, name: str, content: bytes, tokenize: Tokenize) -> float:
    """Read a file, whatever comes of it; seconds of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name.split(" ")[0]
        if path.suffix == ".ann":
            path.with_suffix(".txt").write_bytes(content.split(b"\0")[1])
            content = content.split(b"\0")[0]
        path.write_bytes(content)
        started = time.process_time()
        try:
            read(path, tokenize)
        except NunerError as error:
            typer.echo(f"{name}: {str(error)[:200]}", err=True)
        return time.process_time() - started


def convert(path: Path, tokenize: Tokenize) -> None:
    """Go through a file as `convert` does."""
    for source in find_sources([path]):
        for row in read_rows(source):
            process(row, lambda r: tokenize(r.text), ConvertSettings())


def apply(path: Path, tokenize: Tokenize) -> None:
    """Go through a file as `apply` does before there are tokens."""
    if plain_suffix(path) in JSON_SUFFIXES + TEXT_SUFFIXES + TABLE_SUFFIXES:
        for row in read_texts(str(path)):
            tokenize(row.text)


# By what stands behind the name of the shape.
WAYS: dict[str, Read] = {"": convert, ", by apply": apply}


def fill(unit: str, size: int) -> str:
    """Repeat a text up to a number of bytes."""
    return unit * max(size // len(unit.encode()), 1)


def words(size: int) -> list[str]:
    """Distinct words of six letters, each with the blank behind it seven bytes."""
    return [f"w{number:05x}" for number in range(size // 7)]


def answer(text: Callable[[int], str], line: Callable[[int], str]) -> Shape:
    """A row of a text, some half of the size, and an answer, the other half."""

    def make(size: int) -> bytes:
        row = {"text": text(size * 2 // 5), "answer": line(size * 2 // 5)}
        return json.dumps(row, ensure_ascii=False).encode()

    return make


def repeated(unit: str) -> Shape:
    """A file of one thing over and over."""
    return lambda size: fill(unit, size).encode()


def text_of(unit: str) -> Shape:
    """A row whose text is one thing over and over, and an entity in it."""
    return answer(lambda size: fill(unit, 2 * size - 200), lambda _: f"{unit} <> x")


def lines_of(count: int, line: Callable[[str], str], size: int) -> str:
    """A line for each of the first distinct words, of a number of bytes a line."""
    return "\n".join(map(line, words(7 * (size // count))))


def make_offsets(size: int) -> bytes:
    """A labelled text of which each word is a span."""
    all_words = words(size // 8)
    spans = [
        {"start": 7 * i, "end": 7 * i + 6, "label": "X"} for i in range(len(all_words))
    ]
    return json.dumps({"text": " ".join(all_words), "spans": spans}).encode()


def make_docbin(size: int) -> bytes:
    """A doc of which each token is a span and an entity."""
    doc = spacy.blank("en").make_doc(" ".join(words(size)))
    spans = [Span(doc, i, i + 1, "x") for i in range(len(doc))]
    doc.spans["sc"] = SpanGroup(doc, spans=spans)
    doc.ents = spans
    return DocBin(docs=[doc]).to_bytes()


def make_parquet(size: int) -> bytes:
    """Many rows of tokens and tags."""
    rows = [{"tokens": ["Ana", "left"], "ner_tags": ["B-PER", "O"]}] * (size // 24)
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


def make_arrow(size: int) -> bytes:
    """One row of many tokens and tags."""
    count = size // 12
    row = {"tokens": words(7 * count), "ner_tags": ["B-PER"] * count}
    table = pyarrow.Table.from_pylist([row])
    file = io.BytesIO()
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def make_brat(size: int) -> bytes:
    """A text of which each word is annotated; behind a zero byte the text."""
    all_words = words(size // 4)
    lines = [
        f"T{i}\tX {7 * i} {7 * i + 6}\t{word}\n" for i, word in enumerate(all_words)
    ]
    return "".join(lines).encode() + b"\0" + " ".join(all_words).encode()


def make_columns(size: int) -> bytes:
    """One sentence of tokens and tags."""
    return "".join(f"{word} B-PER\n" for word in words(size // 2)).encode()


def spaced(size: int) -> str:
    """A text of distinct words."""
    return " ".join(words(size))


SHAPES: dict[str, Shape] = {
    "a.jsonl each word an entity": answer(
        spaced, lambda size: lines_of(12, lambda word: f"{word} <> x", size)
    ),
    "a.jsonl words in another case": answer(
        spaced, lambda size: lines_of(12, lambda word: f"{word.upper()} <> x", size)
    ),
    "a.jsonl words that are not there": answer(
        spaced, lambda size: lines_of(13, lambda word: f"{word}z <> x", size)
    ),
    "a.jsonl one word, many concepts": answer(
        lambda size: fill("ab ", size),
        lambda size: lines_of(12, lambda word: f"ab <> {word}", size),
    ),
    "a.jsonl parts of one long word": answer(
        lambda size: fill("ab", size),
        lambda size: lines_of(12, lambda word: f"ab <> {word}", size),
    ),
    "a.jsonl nested words": answer(
        lambda size: fill("a ", size),
        lambda size: "\n".join(f"{'a ' * n}<> x" for n in range(1, int(size**0.5))),
    ),
    "a.jsonl soft hyphens": answer(
        lambda size: fill("a\u00ad", size),
        lambda size: lines_of(16, lambda word: f"a\u00ad <> {word}", size),
    ),
    "a.jsonl letters that fold to eighteen": answer(
        lambda size: fill("\ufdfa ", size),
        lambda size: lines_of(13, lambda word: f"{word}z <> x", size),
    ),
    "a.jsonl each word a span": make_offsets,
    "a.jsonl text of brackets": text_of("("),
    "a.jsonl text of quotes": text_of("'"),
    "a.jsonl text of one letter": text_of("a"),
    "a.jsonl text of figures and signs": text_of("$1"),
    "a.jsonl text of emoji": text_of("🦊"),
    "a.jsonl text of addresses": text_of("http://a.b/"),
    "a.jsonl text of dots": text_of("a."),
    "a.jsonl brackets": repeated("["),
    "a.jsonl.gz lines": lambda size: gzip.compress(
        fill('{"text": "Ana left", "answer": "Ana <> person"}\n', size).encode()
    ),
    "a.json objects without an end": repeated('{"a":[\n'),
    "a.json long objects without an end": repeated(
        '{"a":[' + ",".join("1" * 400) + "\n"
    ),
    "a.json objects in objects": repeated('{"a":\n'),
    "a.json lists": repeated("[\n"),
    "a.json a string without an end": lambda size: b'[{"a": "' + b"a" * size,
    "a.json strings without an end": repeated('{"a": "\n'),
    "a.json no commas": repeated('{"a": 1} '),
    "a.json no commas, in lines": lambda size: (
        b"[\n" + fill('{"a": 1}\n', size).encode()
    ),
    "a.json blanks": lambda size: b"[" + b" " * size + b"{}]",
    "a.json good rows": lambda size: (
        "[" + fill('{"text": "Ana left", "answer": "Ana <> person"},', size) + "{}]"
    ).encode(),
    "a.csv quotes": lambda size: b"input,output\n" + b'"' * size,
    "a.csv open quotes": lambda size: b"input,output\n" + fill('"a\n', size).encode(),
    "a.csv three quotes": lambda size: (
        b"input,output\n" + fill('"""x\n', size).encode()
    ),
    "a.csv escaped quotes": lambda size: (
        b"input,output\n" + fill('""\n', size).encode()
    ),
    "a.csv one open quote": lambda size: (
        b'input,output\n"' + fill("a\n", size).encode()
    ),
    "a.csv open quotes, far apart": lambda size: (
        b"input,output\n" + fill('"' + "a\n" * 20_000, size).encode()
    ),
    "a.csv commas": lambda size: b"input,output\n" + b"," * size,
    "a.csv good rows": lambda size: (
        b"input,output\n" + fill('"Ana left","[\'Ana <> person\']"\n', size).encode()
    ),
    "a.conll one sentence": make_columns,
    "a.conll columns": repeated("a\t"),
    "a.conll blank lines": repeated("\n"),
    "a.conll sentences": repeated("Ana B-PER\n\n"),
    "a.py rows": lambda size: (
        "A = [" + fill("('Ana left', {'entities': [(0, 3, 'P')]}),\n", size) + "]"
    ).encode(),
    "a.py brackets": repeated("["),
    "a.py signs": lambda size: b"A = [" + b"-" * size + b"1]",
    "a.py sums": lambda size: b"A = [" + b"1+" * (size // 2) + b"1]",
    "a.spacy each token a span": make_docbin,
    "a.parquet rows": make_parquet,
    "a.arrow one row": make_arrow,
    "a.ann each word a span": make_brat,
    "a.txt one letter": repeated("a"),
    "a.txt brackets": repeated("("),
    "a.txt lines": repeated("a\n"),
}

if __name__ == "__main__":
    typer.run(main)
