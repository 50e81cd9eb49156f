"""What `precision = "int8"` costs in F1, and what it saves in time.

    python benchmarks/int8.py f1 $DATA/mit-restaurant $DATA/crossner-science \
        $DATA/bionlp2004 --backbone training/backbone
    python benchmarks/int8.py speed training/backbone

`f1` trains `configs/ner.cfg` on draws of a few mentions of each label and judges each
trained pipeline in both precisions: on the test file, or with `--part dev` on what
settings are chosen on. Pipelines of this backbone that stand in `--output` are not
trained again.

`speed` tags sentences and documents with 100 concepts in one process, the precisions in
turns, and prints words a second of processor time; then how near the vectors of int8
are to those of fp32, and how many sentences have other spans alone than in a batch.
"""

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from spacy_nuner.models.precision import Precision

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

app = typer.Typer(add_completion=False)


@contextmanager
def computing(nlp: Any, precision: Precision) -> Iterator[None]:
    """Let the encoders of a pipeline compute in another precision."""
    from spacy_nuner.models.backbone import find_backbone, get_shim

    nodes = [find_backbone(getattr(pipe, "model", None)) for _, pipe in nlp.pipeline]
    shims = [get_shim(node) for node in nodes if node is not None]
    before = [shim.precision for shim in shims]
    for shim in shims:
        shim.precision = precision
    yield
    for shim, old in zip(shims, before, strict=True):
        shim.precision = old


def read_parts(folder: Path) -> dict[str, list[Any]]:
    """The docs of a data set; without a dev file 300 of train are held out."""
    from spacy_nuner.corpus.labelled_docs import read_docs

    parts = {
        path.stem: read_docs(path)
        for path in sorted(folder.iterdir())
        if path.stem in ("train", "dev", "test")
    }
    if "dev" not in parts:
        parts["dev"], parts["train"] = parts["train"][:300], parts["train"][300:]
    return parts


def train_head(docs: list[Any], backbone: str, output: Path, *, seed: int) -> None:
    """Train `configs/ner.cfg` on some docs and save it."""
    from spacy.util import load_config

    from spacy_nuner.labelling.retrain import train_again

    overrides = {"paths.backbone": backbone}
    config = load_config(ROOT / "configs" / "ner.cfg", overrides=overrides)
    nlp = train_again(config, docs, seed=seed)
    output.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(output / "trained")


def judge(path: Path, docs: list[Any], result: Path) -> dict[str, Any]:
    """F1 of a saved pipeline in both precisions, and how many entities differ."""
    import spacy
    from spacy.scorer import Scorer
    from spacy.training import Example

    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf8"))
        return found
    nlp = spacy.load(path)
    found, entities = {}, {}
    for precision in PRECISIONS:
        with computing(nlp, precision):
            started = time.process_time()
            tagged = list(nlp.pipe([doc.text for doc in docs]))
            found[f"seconds in {precision}"] = time.process_time() - started
        pairs = [Example(*pair) for pair in zip(tagged, docs, strict=True)]
        found[precision] = 100 * Scorer(nlp).score(pairs)["ents_f"]
        entities[precision] = {
            (number, ent.start_char, ent.end_char, ent.label_)
            for number, doc in enumerate(tagged)
            for ent in doc.ents
        }
    exact, other = (entities[precision] for precision in PRECISIONS)
    found["entities"] = len(exact)
    found["others"] = len(exact ^ other)
    result.write_text(json.dumps(found, indent=2), encoding="utf8")
    return found


@app.command()
def f1(
    folders: list[Path] = typer.Argument(help="Folders with train, dev and test files"),
    backbone: str = typer.Option("default", help="The backbone"),
    k: list[int] = typer.Option([5, 20], help="Mentions of each label"),
    draws: int = typer.Option(1, help="Draws of each number of mentions"),
    part: str = typer.Option("test", help="Judged on this part: test or dev"),
    output: Path = typer.Option(Path("metrics/int8"), help="Where pipelines go"),
) -> None:
    """Train heads and print the F1 of each in both precisions."""
    from spacy_nuner.encoders.layers import hash_weights, load_encoder
    from spacy_nuner.fewshot.draws import draw_docs

    runs = output / hash_weights(load_encoder(backbone)[1])[:12]
    typer.echo(
        "| data set | mentions | draw | fp32 | int8 | difference | other entities |"
    )
    typer.echo("|" + "---|" * 7)
    differences = []
    for folder in folders:
        parts = read_parts(folder)
        for count in k:
            for seed in range(draws):
                path = runs / folder.name / f"k{count}" / f"draw{seed}"
                if not (path / "trained").exists():
                    draw = draw_docs(parts["train"], count, seed=seed, allow_fewer=True)
                    docs = [parts["train"][i] for i in draw.docs]
                    train_head(docs, backbone, path, seed=seed)
                found = judge(path / "trained", parts[part], path / f"{part}.json")
                difference = found["int8"] - found["fp32"]
                differences.append(difference)
                others = found["others"] / max(found["entities"], 1)
                typer.echo(
                    f"| {folder.name} | {count} | {seed} | {found['fp32']:.2f} "
                    f"| {found['int8']:.2f} | {difference:+.2f} | {others:.1%} |"
                )
    mean, worst = statistics.mean(differences), min(differences)
    typer.echo(f"\nMean of the differences: {mean:+.2f}, the worst: {worst:+.2f}.")


def vectors_of(nlp: Any, texts: list[str]) -> Any:
    """The vectors of all word pieces. *Shape:* (pieces, width)"""
    import numpy as np

    from spacy_nuner.models.backbone import find_backbone

    (model,) = filter(None, (find_backbone(pipe.model) for _, pipe in nlp.pipeline))
    batch = model.predict([nlp.make_doc(text) for text in texts])
    return np.concatenate([d.model_output.last_hidden_state[0] for d in batch.doc_data])


def spans_of(doc: Any) -> list[tuple[int, int, str]]:
    """All spans that a component has set."""
    groups = [*doc.spans.values(), doc.ents]
    return [(s.start_char, s.end_char, s.label_) for group in groups for s in group]


@app.command()
def speed(
    backbone: str = typer.Argument(help="A backbone folder with a concept encoder"),
    data: Path = typer.Option(
        ROOT.parent / "shared" / "data",
        envvar="SPACY_NUNER_DATA",
        help="Folder with raw-text/ewt-train.jsonl and raw-text/c4.jsonl",
    ),
    sentences: int = typer.Option(2000, help="Sentences of ewt-train.jsonl"),
    documents: int = typer.Option(200, help="Documents of c4.jsonl"),
    concepts: int = typer.Option(100, help="Number of concepts"),
    rounds: int = typer.Option(5, help="How often each precision has its turn"),
    alone: int = typer.Option(300, help="Sentences that are tagged alone as well"),
) -> None:
    """Time the precisions in turns and print a table."""
    import numpy as np
    from tagging import make_tagger, read_concepts, read_documents, read_sentences

    task = {"backbone": backbone, "concepts": read_concepts(concepts)}
    nlp = make_tagger(task, concepts)
    texts = {
        "sentences": read_sentences(data, sentences),
        "documents": read_documents(data, documents),
    }
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for precision in PRECISIONS:
            for kind, chosen in texts.items():
                with computing(nlp, precision):
                    started = time.process_time()
                    for _ in nlp.pipe(chosen):
                        pass
                # The first round warms up.
                if number:
                    spent = time.process_time() - started
                    seconds.setdefault((kind, precision), []).append(spent)
    typer.echo("| | fp32, words/s | int8, words/s | times | of the rounds |")
    typer.echo("|" + "---|" * 5)
    for kind, chosen in texts.items():
        words = sum(len(text.split()) for text in chosen)
        exact, other = (seconds[kind, precision] for precision in PRECISIONS)
        times = [a / b for a, b in zip(exact, other, strict=True)]
        typer.echo(
            f"| {kind} | {words / statistics.median(exact):,.0f} "
            f"| {words / statistics.median(other):,.0f} "
            f"| {statistics.median(times):.2f} | {min(times):.2f} to {max(times):.2f} |"
        )
    few, found, differing = texts["sentences"][:alone], {}, {}
    for precision in PRECISIONS:
        with computing(nlp, precision):
            found[precision] = vectors_of(nlp, few)
            together = map(spans_of, nlp.pipe(few))
            differing[precision] = sum(
                spans_of(nlp(text)) != spans
                for text, spans in zip(few, together, strict=True)
            )
    exact, other = (found[precision] for precision in PRECISIONS)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (exact * other).sum(1) / norms
    typer.echo(
        f"\nCosine of the vectors: {cosines.mean():.4f} on the mean, "
        f"{np.quantile(cosines, 0.01):.4f} for the worst of a hundred."
    )
    for precision, count in differing.items():
        typer.echo(
            f"{precision}: {count} of {len(few)} sentences have other spans alone than "
            "in a batch."
        )


if __name__ == "__main__":
    app()
