"""The benchmarks import what there is, and say how they are called."""

import json

import pytest
from confection import Config
from typer.testing import CliRunner

from ..conftest import ROOT
from .test_commands import load_app

BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


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
