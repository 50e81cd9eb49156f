import json

import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app

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
    command = [*sets, "--backbones", ",".join(map(str, tiny)), "--draws", 2]
    command += ["--k", "1,2", "--layers", "last, -1+-2"]
    command += ["--names", "base,nuner", "--output", metrics / "probe"]
    result = run("fewshot", *command)
    assert result.exit_code == 0, result.output
    assert len(list(metrics.rglob("draw*.json"))) == 2 * 2 * 2 * 2
    assert (metrics / "probe/listings/nuner/-1+-2/k2/draw1.json").is_file()
    assert "gain over base" in result.output
    assert "entity F1, layers: -1+-2" in result.output
    result = run("report", metrics, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "gain over base" in (tmp_path / "out" / "report.md").read_text("utf8")
    assert (tmp_path / "out" / "learning_curve.svg").is_file()


def test_k_out_of_reach_stops_before_the_work(assets, tiny, tmp_path):
    sets = [assets / "listings" / name for name in ("train.jsonl", "dev.jsonl")]
    command = [*sets, "--backbones", tiny[0], "--k", "1,64", "--output", tmp_path / "m"]
    result = run("fewshot", *command)
    assert result.exit_code == 1
    assert "N611" in result.output
    assert not (tmp_path / "m").exists()


def test_errors_have_numbers_and_exit_codes(assets, tiny, tmp_path):
    train = assets / "listings" / "train.jsonl"
    none = tmp_path / "none.jsonl"
    output = ("--output", tmp_path / "m")
    result = run("fewshot", none, train, "--backbones", tiny[0], *output)
    assert result.exit_code == 1 and "N005" in result.output
    result = run("fewshot", train, train, "--backbones", tmp_path / "x", *output)
    assert result.exit_code == 1 and "N001" in result.output
    result = run("report", tmp_path, tmp_path / "out")
    assert result.exit_code == 1 and "N632" in result.output


def test_a_list_that_is_none(assets, tiny, tmp_path):
    train = assets / "listings" / "train.jsonl"
    command = [train, train, "--backbones", tiny[0], "--output", tmp_path / "m"]
    result = run("fewshot", *command, "--k", "1 4")
    assert result.exit_code == 2
    # Values are separated by commas alone.
    result = run("fewshot", *command, "--k", 1, 4)
    assert result.exit_code == 2
    assert not (tmp_path / "m").exists()
