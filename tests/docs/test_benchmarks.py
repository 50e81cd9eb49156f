"""The benchmarks import what there is, and say how they are called."""

import inspect
import json
import shutil
import sys
from pathlib import Path

import pytest
import typer
from confection import Config
from typer.testing import CliRunner

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.fewshot.cells import choose_dev
from spacy_nuner.fewshot.draws import PROTOCOLS
from spacy_nuner.fewshot.grid import Grid
from spacy_nuner.fewshot.heads import check_heads
from spacy_nuner.fewshot.results import read_cells

from ..conftest import ROOT
from ..pretrain.conftest import SENTENCES as PASSAGES
from ..pretrain.conftest import TEXTS, write_corpus
from ..util import make_tiny_bert
from .test_commands import load_app

PEERS = "benchmarks/peers/compare.py"
BENCHMARKS = [*sorted((ROOT / "benchmarks").glob("*.py")), ROOT / PEERS]
GRIDS = sorted((ROOT / "benchmarks" / "grids").glob("*.yml"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_explain_themselves(path):
    name = path.relative_to(ROOT).as_posix()
    # In a narrow terminal, names of options are cut.
    result = CliRunner().invoke(load_app(name), ["--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    assert "--help" in result.output


def test_levers_are_overrides_of_the_config():
    config = Config().from_disk(ROOT / "configs" / "pretrain.cfg")
    levers = json.loads((ROOT / "benchmarks" / "levers.json").read_text("utf8"))
    for overrides in levers.values():
        for name in overrides:
            section, _, key = name.partition(".")
            assert key in config[section] or "@misc" in config[section], name


def test_a_lever_is_trained_once_for_what_it_depends_on(tmp_path, monkeypatch):
    load_app("benchmarks/levers.py")
    module = sys.modules["benchmark"]
    for name in {*module.PROBED, *module.NAMED}:
        (tmp_path / "data").mkdir(exist_ok=True)
        write_set(tmp_path / "data" / name, {"train": SENTENCES, "dev": SENTENCES})
    write_corpus(tmp_path / "corpus", PASSAGES)
    trained = []

    def run(command, *arguments):
        trained.append(arguments)

    monkeypatch.setattr(module, "nuner", run)
    monkeypatch.setattr(module, "judge", lambda *args, **more: {"last k=1": 1.0})
    base = str(make_tiny_bert(tmp_path / "bert", TEXTS))

    def measure(**changed):
        options = {"passages": 2, "epochs": 1, "seed": 0, "k": "1", "base": base}
        paths = (tmp_path / "data", tmp_path / "corpus", tmp_path / "out")
        module.main(*paths, lever=["ours", "paper"], **{**options, **changed})

    measure()
    assert len(trained) == 2
    # Drawn again into another temporary folder.
    measure()
    assert len(trained) == 2
    measure(k="1,4")
    measure(base=str(make_tiny_bert(tmp_path / "other", TEXTS, seed=3)))
    assert len(trained) == 6
    write_corpus(tmp_path / "corpus", PASSAGES[1:])
    measure()
    assert len(trained) == 8
    assert len(list((tmp_path / "out").glob("*.json"))) == 8


def test_half_of_the_layers_is_of_the_encoder(tmp_path):
    load_app("benchmarks/levers.py")
    module = sys.modules["benchmark"]
    base = make_tiny_bert(tmp_path / "bert", TEXTS, layers=4)
    half = module.resolve({"model.frozen_layers": "half", "model.dropout": 0.1}, base)
    assert half == {"model.frozen_layers": 2, "model.dropout": 0.1}
    assert module.resolve({"model.frozen_layers": 1}, base) == {
        "model.frozen_layers": 1
    }


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_grids_can_be_read(path, monkeypatch):
    monkeypatch.setenv("DATA", "/data")
    grid = Grid.from_disk(path)
    check_heads(grid.heads, grid.encoders)
    assert all(name in PROTOCOLS for name in grid.protocols)
    assert all(one.test.startswith("/data/") for one in grid.datasets.values())


def write_set(folder, parts):
    """Write parts of a labelled set in two columns, a word and its tag a pair."""
    folder.mkdir()
    for part, sentences in parts.items():
        rows = (
            "\n".join(f"{word}\t{tag}" for word, tag in sentence)
            for sentence in sentences
        )
        (folder / f"{part}.conll").write_text("\n\n".join(rows) + "\n", "utf8")


# Two neighbours of one label, and a sentence without an entity.
SENTENCES = [
    [("cheap", "B-Price"), ("thai", "B-Cuisine"), ("sushi", "B-Cuisine")],
    [("very", "B-Price"), ("cheap", "I-Price"), ("thai", "B-Cuisine")],
    [("call", "O"), ("me", "O")],
]


def test_a_gliner_of_another_corpus_is_not_taken(tmp_path, monkeypatch):
    load_app(PEERS)
    module = sys.modules["benchmark"]
    trained = []

    def run_worker(python, command, task):
        trained.append(task["passages"])
        Path(task["output"]).mkdir(parents=True)
        steps = task["arguments"]["max_steps"]
        counts = {"steps": steps, "planned_steps": steps, "seconds": 60}
        return {**counts, "passages": len(task["passages"])}

    monkeypatch.setattr(module, "run_worker", run_worker)
    base = str(make_tiny_bert(tmp_path / "bert", TEXTS))

    def pretrain(corpus):
        module.pretrain(
            *(Path("python"), corpus, base, (1e-5, 3e-5), tmp_path / "model"),
            **{"minutes": 1, "steps": 10, "passages": 0},
        )

    for name, sentences in (("one", PASSAGES), ("two", PASSAGES[1:])):
        write_corpus(tmp_path / name, sentences)
    pretrain(tmp_path / "one")
    # Wherever it lies.
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    pretrain(tmp_path / "moved")
    assert len(trained) == 1
    with pytest.raises(typer.BadParameter, match="other settings"):
        pretrain(tmp_path / "two")


def test_gliner_is_tuned_on_the_sets_of_the_grid():
    load_app(PEERS)
    module = sys.modules["benchmark"]
    grid = Grid.from_disk(ROOT / "benchmarks" / "grids" / "heads.yml")
    assert sorted(module.TUNED) == sorted(grid.datasets)
    options = inspect.signature(module.main).parameters
    assert options["draws"].default.default == grid.draws
    assert options["rate_draws"].default.default == grid.rate_draws
    assert set(options["k"].default.default) <= set(grid.k)
    assert grid.dev_sentences == module.DEV_SENTENCES


def test_rates_of_gliner_are_judged_on_the_sentences_of_the_grid(tmp_path):
    load_app(PEERS)
    module = sys.modules["benchmark"]
    train = 4 * SENTENCES
    dev = [[("thai", "B-Cuisine"), (f"word{i}", "O")] for i in range(30)]
    write_set(
        tmp_path / "mit-restaurant", {"train": train, "dev": dev, "test": SENTENCES}
    )
    model = module.Gliner("model", "model", {"name": "model"}, Path("python"), 0.5)
    tuning = module.make_tuning(
        *(model, tmp_path / "mit-restaurant", tmp_path / "out"), steps=1, sentences=8
    )
    judged = tuning.get_dev(module.draw_docs(tuning.data.train, 1))
    assert [doc.text for doc in judged] == [
        doc.text for doc in choose_dev(tuning.data.dev, 8)
    ]
    # Neither in the order of the file nor its beginning.
    assert [doc[1].text for doc in judged] != [f"word{i}" for i in range(8)]


def test_gliner_is_tuned_on_the_same_draws_and_scored_by_its_spans(
    tmp_path, monkeypatch
):
    make = load_app(PEERS)
    module = sys.modules["benchmark"]
    data, model = tmp_path / "data", tmp_path / "model"
    data.mkdir()
    write_set(data / "mit-restaurant", {"train": 70 * SENTENCES, "test": SENTENCES})
    write_set(data / "wnut17", {"dev": [[("Ann", "B-person"), ("left", "O")]]})
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    calls = []

    def run_worker(python, command, task, *, threads=None):
        """Find "thai" and "sushi", after a training with the middle rates."""
        calls.append((command, task))
        knows = task.get("arguments", {}).get("learning_rate", 1e-4) == 1e-4
        parts = {}
        for part, sentences in task["parts"].items():
            ents = []
            for words in sentences:
                text, found = " ".join(words), []
                for word in ("thai", "sushi"):
                    if knows and word in words:
                        start = text.index(word)
                        found.append([start, start + len(word), "Cuisine"])
                ents.append(found)
            parts[part] = {"ents": ents, "seconds": 2.0, "words": 0}
        return {"parts": parts, "versions": {}, "threads": 1, "seconds": 1.0}

    monkeypatch.setattr(module, "run_worker", run_worker)
    options = "--python python --zero mit-restaurant --dev wnut17"
    options += " --tuned mit-restaurant --k 1 --draws 3 --processes 1 --model"
    arguments = [data, tmp_path, tmp_path / "out", *options.split(), model]
    result = CliRunner().invoke(make, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    # Of five entities the three of one label.
    cells = tmp_path / "out" / "test" / "mit-restaurant" / "model"
    cell = json.loads((cells / "names" / "k0" / "draw0.json").read_text("utf8"))
    assert (cell["ents_p"], cell["ents_r"]) == (1, 0.6)
    assert cell["words_per_second"] == 8 / 2
    tagged = [task["prompts"] for command, task in calls if command == "tag"]
    prompts = [told["Price"] for told in tagged if "Price" in told]
    assert prompts[0] == "price" and prompts[-1].startswith("price: How expensive")
    # Rates by dev, then all draws; the first one stands already.
    tuned = [task for command, task in calls if command == "tune"]
    assert len(tuned) == 3 + 2
    assert f"| mit-restaurant | 1 | {cells.name} | 0.0001/0.0005 | " in result.output
    for path in (cells / "mentions-gliner-tuned" / "k1").iterdir():
        cell = json.loads(path.read_text("utf8"))
        assert (cell["ents_p"], cell["ents_r"]) == (1, 0.6)
        train = read_docs(data / "mit-restaurant" / "train.conll")
        drawn = module.draw_docs(train, 1, seed=cell["draw"])
        assert cell["settings"]["docs"] == drawn.docs
    rows = {" ".join(row["tokenized_text"]): row for row in tuned[0]["rows"]}
    for text, row in rows.items():
        if text == "very cheap thai":
            assert row["ner"] == [[0, 1, "price"], [2, 2, "cuisine"]]
        assert {"price", "cuisine", "dish"} <= set(row["ner_labels"])
    # What chose rates and models is no result.
    results = read_cells(tmp_path / "out")
    assert {(cell.protocol, cell.head) for cell in results} == {("mentions", "gliner")}
    assert sorted(cell.k for cell in results) == [0, 0, 1, 1, 1]
    # Nothing is computed again.
    count = len(calls)
    again = CliRunner().invoke(make, [*map(str, arguments)])
    assert again.exit_code == 0 and len(calls) == count
