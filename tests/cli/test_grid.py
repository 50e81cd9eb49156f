import json
import re

import pytest
import srsly
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.fewshot.grid import Grid, SetFiles, read_set
from spacy_nuner.fewshot.results import read_cells

from ..util import make_tiny_bert


@pytest.fixture(scope="module")
def content(assets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    lines = (assets / "listings" / "train.jsonl").read_text("utf8").splitlines()
    (folder / "train.jsonl").write_text("\n".join(lines[:60]), "utf8")
    bert = make_tiny_bert(folder / "a", [json.loads(line)["text"] for line in lines])
    train = str(folder / "train.jsonl")
    return {
        "datasets": {
            "mine": {"train": train, "test": train},
            "rooms": {"train": train, "test": train, "only": ["ROOM"]},
        },
        "backbones": {"base": str(bert)},
        "heads": ["probe", "prototype"],
        "protocols": ["mentions", "words"],
        "k": [1, 2],
        "draws": 2,
        "layers": "last",
    }


def run(content, folder, *more):
    srsly.write_yaml(folder / "grid.yml", content)
    words = ["grid", str(folder / "grid.yml"), str(folder / "out"), *more]
    return CliRunner().invoke(app, words)


def test_a_grid_is_run_once(content, tmp_path):
    result = run(content, tmp_path)
    assert result.exit_code == 0, result.output
    # Sets, heads, protocols, k, draws.
    cells = read_cells(tmp_path / "out")
    assert len(cells) == 2**5
    assert "32 cells" in result.output and "words-prototype-frozen" in result.output
    assert {cell.protocol for cell in cells} == {"probe", "mentions", "words"}
    rooms = [cell for cell in cells if cell.dataset == "rooms"]
    assert {label for cell in rooms for label in cell.mentions} == {"ROOM"}
    for cell in cells:
        if cell.protocol == "words":
            assert min(cell.settings["words"].values()) >= cell.k
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("draw*.json")}
    assert run({**content, "draws": 1}, tmp_path).exit_code == 0
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


@pytest.mark.parametrize(
    "change, number",
    [
        ({"k": [0]}, "N619.*k.0"),
        ({"kk": [1]}, "N619.*kk"),
        ({"datasets": {}}, "N619.*datasets"),
        ({"datasets": {"../a": {"train": "x", "test": "x"}}}, "N619.*pattern"),
        ({"datasets": {"a": {"train": "x"}}}, "N619.*test"),
        ({"datasets": {"a": "train.jsonl"}}, "N619.*datasets.a.*name train and test"),
        ({"datasets": {"a": "hub:x::test"}}, "N619.*datasets.a.*name train and test"),
        ({"datasets": {"average": {"train": "x", "test": "x"}}}, "N619.*average"),
        ({"heads": []}, "N619.*heads"),
        ({"seed": -1}, "N619.*seed"),
        ({"heads": ["linear"], "head_layers": "-2+-1"}, "N401"),
        ({"heads": ["crf"]}, "N618.*crf"),
        ({"protocols": ["greedy"]}, "N617.*greedy"),
        ({"datasets": {"a": {"train": "x", "test": "x"}}}, "N005"),
        ({"k": [10**6]}, "N611"),
    ],
)
def test_grids_that_can_not_be_run(content, tmp_path, change, number):
    result = run({**content, **change}, tmp_path)
    assert result.exit_code == 1
    assert re.search(number, " ".join(result.output.split())), result.output
    assert not (tmp_path / "out").exists()


def test_labels_that_the_set_has_not(content, tmp_path):
    wrong = {**content["datasets"]["mine"], "only": ["ROOM", "GARDENS"]}
    result = run({**content, "datasets": {"a": wrong}}, tmp_path)
    assert result.exit_code == 1 and "N624" in result.output
    assert "GARDENS. Found are" in " ".join(result.output.split())


def test_names_of_labels_with_and_without_descriptions(content, tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(
        json.dumps({"ROOM": {"name": "a room", "description": "of a home"}})
    )
    files = {**content["datasets"]["mine"], "labels": str(path)}
    for more, description in (({}, "of a home"), ({"descriptions": False}, None)):
        (known,) = read_set("a", SetFiles(**files, **more), "en").meanings.values()
        assert (known.name, known.description) == ("a room", description)


@pytest.mark.parametrize("text", ["datasets: [", "just words", "- 1", "a: !!python/x"])
def test_files_that_are_no_grid(tmp_path, text):
    (tmp_path / "grid.yml").write_text(text)
    words = ["grid", str(tmp_path / "grid.yml"), str(tmp_path / "out")]
    for _ in range(2):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 1 and "N619" in result.output
        # The second time there is no file.
        (tmp_path / "grid.yml").unlink(missing_ok=True)


def test_a_set_of_the_hub_is_named_once(tmp_path):
    pytest.importorskip("datasets")
    for part, city in (("train", "Rome"), ("validation", "Oslo"), ("test", "Bonn")):
        row = {"text": f"In {city}.", "answer": f"{city} <> city"}
        (tmp_path / "cities").mkdir(exist_ok=True)
        (tmp_path / "cities" / f"{part}.jsonl").write_text(json.dumps(row))
    grid = Grid.model_validate(
        {"datasets": {"c": f"hub:{tmp_path}/cities"}, "backbones": {"base": "x"}}
    )
    dataset = read_set("c", grid.datasets["c"], "en")
    texts = [[doc.text for doc in docs] for docs in (dataset.train, dataset.dev)]
    assert texts == [["In Rome."], ["In Oslo."]]
    assert [doc.text for doc in dataset.test] == ["In Bonn."]
