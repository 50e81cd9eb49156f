"""The benchmarks import what there is, and say how they are called."""

import json

import pytest
from confection import Config
from typer.testing import CliRunner

from spacy_nuner.fewshot.draws import PROTOCOLS
from spacy_nuner.fewshot.grid import Grid
from spacy_nuner.fewshot.heads import check_heads

from ..conftest import ROOT
from .test_commands import load_app

BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
GRIDS = sorted((ROOT / "benchmarks" / "grids").glob("*.yml"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_explain_themselves(path):
    result = CliRunner().invoke(load_app(f"benchmarks/{path.name}"), ["--help"])
    assert result.exit_code == 0, result.output
    assert "--help" in result.output


def test_levers_are_overrides_of_the_config():
    config = Config().from_disk(ROOT / "configs" / "pretrain.cfg")
    levers = json.loads((ROOT / "benchmarks" / "levers.json").read_text("utf8"))
    for overrides in levers.values():
        for name in overrides:
            section, _, key = name.partition(".")
            assert key in config[section] or "@misc" in config[section], name


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_grids_can_be_read(path, monkeypatch):
    monkeypatch.setenv("DATA", "/data")
    grid = Grid.from_disk(path)
    check_heads(grid.heads, grid.encoders)
    assert all(name in PROTOCOLS for name in grid.protocols)
    assert all(one.test.startswith("/data/") for one in grid.datasets.values())
