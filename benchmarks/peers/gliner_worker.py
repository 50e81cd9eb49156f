"""GLiNER's training and inference, in an environment of its own.

    python benchmarks/peers/gliner_worker.py pretrain TASK.json RESULT.json
    python benchmarks/peers/gliner_worker.py tune TASK.json RESULT.json
    python benchmarks/peers/gliner_worker.py tag TASK.json RESULT.json

benchmarks/peers/compare.py calls this. Nothing of spacy_nuner is imported; models are
built by GLiNER's `from_config`, trained by `train_model`, and tag by `inference`.
"""

import json
import random
import re
import tempfile
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import typer
from gliner import GLiNER
from tqdm import tqdm

app = typer.Typer(add_completion=False)
PACKAGES = ("gliner", "torch", "transformers", "accelerate")
# Sentences of one call, between which the progress bar moves.
CHUNK = 64


@app.command()
def pretrain(task_path: Path, result_path: Path) -> None:
    """Train a model from an encoder.

    The task has `config` (of the model), `arguments` (of `train_model`), `passages`
    (text, and spans as start and end character and concept), `trial_steps`, `minutes`
    and `output`, a folder. If `max_steps` of the arguments would take more than
    `minutes`, by the time of the trial, fewer are made; the schedule ends with them.
    """
    task = read_json(task_path)
    model = make_model(task)
    passages, lost = split_passages(model, task["passages"])
    arguments = dict(task["arguments"])
    planned = arguments["max_steps"]
    trial = {**arguments, "max_steps": min(task["trial_steps"], planned)}
    _, seconds = train(model, passages, trial)
    per_step = seconds / trial["max_steps"]
    arguments["max_steps"] = max(1, min(planned, int(60 * task["minutes"] / per_step)))
    # The trial left its traces in the weights.
    model, seconds = train(make_model(task), passages, arguments)
    model.save_pretrained(task["output"], safe_serialization=True)
    write_json(
        result_path,
        {
            "passages": len(passages),
            "mentions_lost": lost,
            "planned_steps": planned,
            "steps": arguments["max_steps"],
            "seconds": round(seconds, 1),
            "seconds_per_step": round(seconds / arguments["max_steps"], 3),
            **describe_environment(),
        },
    )


@app.command()
def tune(task_path: Path, result_path: Path) -> None:
    """Train a model further on a few sentences and tag with it; it is not saved.

    The task has `model`, `arguments`, `rows` in GLiNER's form, and what `tag` needs.
    """
    task = read_json(task_path)
    set_seed(task["arguments"]["seed"])
    model, seconds = train(load(task["model"]), task["rows"], task["arguments"])
    write_json(result_path, {"seconds": round(seconds, 1), **tag_parts(model, task)})


@app.command()
def tag(task_path: Path, result_path: Path) -> None:
    """Tag sentences by the names of labels.

    The task has `model`, `prompts` (label -> what GLiNER is told), `parts` (name ->
    sentences, as words) and `threshold`.
    """
    task = read_json(task_path)
    write_json(result_path, tag_parts(load(task["model"]), task))


def read_json(path: Path) -> Any:
    """Read a file."""
    return json.loads(path.read_text(encoding="utf8"))


def write_json(path: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content), encoding="utf8")
    temporary.replace(path)


def describe_environment() -> dict[str, Any]:
    """What times and results depend on besides the task."""
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
    }


def set_seed(seed: int) -> None:
    """Seed what draws weights, types and batches."""
    random.seed(seed)
    torch.manual_seed(seed)


def make_model(task: dict[str, Any]) -> Any:
    """A new model on an encoder; its own layers are random."""
    set_seed(task["arguments"]["seed"])
    return GLiNER.from_config(task["config"]).float()


def load(name: str) -> Any:
    """A model from a folder or the hub, in fp32."""
    model = GLiNER.from_pretrained(name).float()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def train(model: Any, rows: list[Any], arguments: dict[str, Any]) -> tuple[Any, float]:
    """Train, and tell how many seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        model.train_model(
            train_dataset=rows,
            eval_dataset=None,
            output_dir=folder,
            save_strategy="no",
            use_cpu=not torch.cuda.is_available(),
            # As the notebook of GLiNER has it; a worker would be one more process.
            dataloader_num_workers=0,
            logging_steps=100,
            **arguments,
        )
        return model.eval(), time.perf_counter() - started


def split_passages(
    model: Any, passages: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], int]:
    """Make rows of GLiNER's form, in the words that GLiNER cuts texts into.

    RETURNS (tuple[list[dict[str, Any]], int]): The rows, and how many spans are lost:
        they begin or end within a word.
    """
    rows, lost = [], 0
    for passage in passages:
        words = list(model.data_processor.words_splitter(passage["text"]))
        starts = {start: i for i, (_, start, _) in enumerate(words)}
        ends = {end: i for i, (_, _, end) in enumerate(words)}
        spans = [
            [starts[start], ends[end], concept]
            for start, end, concept in passage["spans"]
            if start in starts and end in ends
        ]
        lost += len(passage["spans"]) - len(spans)
        rows.append({"tokenized_text": [word for word, _, _ in words], "ner": spans})
    return rows, lost


def split_at_blanks(text: str) -> Any:
    """The words of a labelled set, joined by blanks, instead of GLiNER's own."""
    for match in re.finditer("[^ ]+", text):
        yield match.group(), match.start(), match.end()


def tag_parts(model: Any, task: dict[str, Any]) -> dict[str, Any]:
    """Tag the sentences of each part, each entity as first and last character."""
    model.data_processor.words_splitter = split_at_blanks
    options = {"labels": task["prompts"], "threshold": task["threshold"]}
    found = {}
    for part, sentences in task["parts"].items():
        texts = [" ".join(words) for words in sentences]
        model.inference(texts[:8], **options)
        ents: list[Any] = []
        started = time.perf_counter()
        with tqdm(total=len(texts), desc=part, leave=False) as bar:
            remaining = iter(texts)
            while chunk := list(islice(remaining, CHUNK)):
                ents += model.inference(chunk, **options)
                bar.update(len(chunk))
        found[part] = {
            "seconds": round(time.perf_counter() - started, 2),
            "words": sum(map(len, sentences)),
            "ents": [[[e["start"], e["end"], e["label"]] for e in x] for x in ents],
        }
    return {"parts": found, **describe_environment()}


if __name__ == "__main__":
    app()
