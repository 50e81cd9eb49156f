"""`init`: what ships with the package is written for who only ran pip install."""

import shlex

import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.init import CONFIGS

from ..conftest import ROOT

PYTHON = ("python", "-m", "spacy")


def run(*args, code=0):
    result = CliRunner().invoke(app, ["init", *map(str, args)])
    assert result.exit_code == code, result.output
    return result.output


def written(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shipped(*names):
    return {name: (ROOT / name).read_bytes() for name in names}


@pytest.mark.parametrize("head,config", CONFIGS.items())
def test_the_config_of_a_head(tmp_path, monkeypatch, head, config):
    monkeypatch.setenv("SPACY_NUNER_HOME", str(tmp_path / "home"))
    folder = tmp_path / "a b"
    printed = run(folder, "--head", head.value)
    assert written(folder) == shipped(config, "configs/pretrain.cfg")
    *_, build, train = printed.strip().splitlines()
    assert build == "python -m spacy nuner build"
    assert shlex.split(train)[:5] == [
        *PYTHON,
        "train",
        f"{folder}/{config}",
    ]


def test_the_whole_project(tmp_path):
    printed = run(tmp_path, "--project")
    parts = [p for name in ("configs", "assets") for p in (ROOT / name).rglob("*")]
    names = [p.relative_to(ROOT).as_posix() for p in parts if p.is_file()]
    assert written(tmp_path) == shipped("project.yml", *names)
    command = shlex.split(printed.strip().splitlines()[-1])
    assert command == [*PYTHON, "project", "run", "all", str(tmp_path)]


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "ner.cfg").write_text("mine")
    before = written(tmp_path)
    for args in ((), ("--project",)):
        printed = "".join(run(tmp_path, *args, code=1).split())
        assert "[N016]" in printed and "ner.cfg" in printed
        assert written(tmp_path) == before


def test_what_is_the_same_already_is_fine(tmp_path):
    run(tmp_path)
    run(tmp_path, "--project")
    run(tmp_path, "--project")
    run(tmp_path, "--head", "concepts")


def test_a_folder_that_can_not_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    assert "[N032]" in run(tmp_path / "file", code=1)


def test_an_unknown_head(tmp_path):
    run(tmp_path, "--head", "none", code=2)
    assert not any(tmp_path.iterdir())
