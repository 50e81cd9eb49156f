import json

import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.fewshot import fewshot
from spacy_nuner.cli.report import report
from spacy_nuner.fewshot.results import read_cells

from ..util import make_tiny_bert


@pytest.fixture(scope="module")
def tiny(assets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    lines = (assets / "listings" / "train.jsonl").read_text("utf8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    return [
        make_tiny_bert(folder / name, texts, seed=len(name)) for name in ("a", "bb")
    ]


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_fewshot_then_report(assets, tiny, tmp_path):
    sets = [assets / "listings" / name for name in ("train.jsonl", "dev.jsonl")]
    metrics = tmp_path / "metrics"
    command = [
        *sets,
        metrics / "probe",
        "--backbones",
        ",".join(map(str, tiny)),
        "--draws",
        2,
    ]
    command += ["--k", "1,2", "--layers", "last, -1+-2"]
    command += ["--names", "base,nuner"]
    result = run("fewshot", *command)
    assert result.exit_code == 0, result.output
    assert len(list(metrics.rglob("draw*.json"))) == 2 * 2 * 2 * 2
    assert (metrics / "probe/listings/nuner/-1+-2/k2/draw1.json").is_file()
    assert "gain over base" in result.output
    assert "entity F1, layers -1+-2" in result.output
    result = run("report", metrics, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "gain over base" in (tmp_path / "out" / "report.md").read_text("utf8")
    assert (tmp_path / "out" / "learning_curve.svg").is_file()


def test_what_labels_are_called(assets, tiny, tmp_path):
    sets = [assets / "listings" / name for name in ("train.jsonl", "dev.jsonl")]
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"ROOM": {"name": "a room of a home"}}))
    command = [*sets, tmp_path / "m", "--backbones", tiny[0], "--k", 1, "--draws", 1]
    command += ["--heads", "nuner_ner", "--epochs", 1, "--labels", labels]
    result = run("fewshot", *command)
    assert result.exit_code == 0, result.output
    (cell,) = read_cells(tmp_path / "m")
    assert "a room of a home" in json.dumps(cell.settings)


def test_k_out_of_reach_stops_before_the_work(assets, tiny, tmp_path):
    sets = [assets / "listings" / name for name in ("train.jsonl", "dev.jsonl")]
    command = [
        *(*sets, tmp_path / "m"),
        *("--backbones", tiny[0]),
        *("--k", "1,64"),
    ]
    result = run("fewshot", *command)
    assert result.exit_code == 1
    assert "N611" in result.output
    assert not (tmp_path / "m").exists()


def test_errors_have_numbers_and_exit_codes(assets, tiny, tmp_path):
    train = assets / "listings" / "train.jsonl"
    none = tmp_path / "none.jsonl"
    output = tmp_path / "m"
    result = run("fewshot", none, train, output, "--backbones", tiny[0])
    assert result.exit_code == 1 and "N005" in result.output
    result = run("fewshot", train, train, output, "--backbones", tmp_path / "x")
    assert result.exit_code == 1 and "N001" in result.output
    result = run("fewshot", train, train, output, "--backbones", tiny[0], "--k", 0)
    assert result.exit_code == 1 and "N612" in result.output
    result = run("report", tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 1 and "N632" in result.output


def test_a_list_that_is_none(assets, tiny, tmp_path):
    train = assets / "listings" / "train.jsonl"
    command = [train, train, tmp_path / "m", "--backbones", tiny[0]]
    result = run("fewshot", *command, "--k", "1 4")
    assert result.exit_code == 2
    # Values are separated by commas alone.
    result = run("fewshot", *command, "--k", 1, 4)
    assert result.exit_code == 2
    assert not (tmp_path / "m").exists()


def test_functions_of_the_commands(assets, tiny, tmp_path):
    train, test = (assets / "listings" / f"{name}.jsonl" for name in ("train", "dev"))
    cells = fewshot(
        *(train, test, tmp_path / "probe"),
        backbones=[str(tiny[0])],
        names=["base"],
        layers=["last"],
        dataset="mine",
        k=[1],
        draws=2,
        seed=7,
    )
    assert [(cell.dataset, cell.backbone, cell.k) for cell in cells] == [
        ("mine", "base", 1)
    ] * 2
    assert [cell.settings["seed"] for cell in cells] == [7, 8]
    assert read_cells(tmp_path / "probe") == cells
    written = report(tmp_path / "probe", tmp_path / "out")
    assert {path.name for path in written} == {
        "report.md",
        "report.html",
        "learning_curve.png",
        "learning_curve.svg",
    }
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize("option", [("--k", " , "), ("--seed", "-1")])
def test_options_that_say_nothing(assets, tiny, tmp_path, option):
    path = assets / "listings" / "train.jsonl"
    result = run(
        "fewshot", path, path, tmp_path / "out", "--backbones", tiny[0], *option
    )
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
