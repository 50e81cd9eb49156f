"""Files and folders stand whole or not at all: what a kill at any point leaves."""

import os
import signal
import subprocess
import sys

import pytest

from spacy_nuner.errors import NunerError
from spacy_nuner.files import check_own_rows, replacing, resuming


def write(path, run="a", content="new", *, stop_at=None):
    with resuming(path, marker="done", run=run) as work:
        target = work / path.name
        seen = sorted(one.name for one in target.iterdir())
        (target / "part").write_text(content)
        if stop_at == "part":
            raise KeyboardInterrupt
        (target / "done").touch()
    return seen


@pytest.fixture
def path(tmp_path):
    return tmp_path / "corpus"


def listing(path):
    return sorted(one.name for one in path.parent.iterdir())


def test_what_is_whole_stands_alone(path):
    assert write(path) == []
    assert listing(path) == ["corpus"]
    assert write(path, content="newer") == []
    assert (path / "part").read_text() == "newer"
    assert listing(path) == ["corpus"]


@pytest.mark.parametrize(("run", "seen"), [("a", ["part"]), ("b", [])])
def test_the_same_run_goes_on(path, run, seen):
    with pytest.raises(KeyboardInterrupt):
        write(path, stop_at="part")
    assert listing(path) == ["corpus.work"]
    assert write(path, run) == seen
    assert listing(path) == ["corpus"]


@pytest.mark.parametrize("placed", [False, True])
def test_killed_while_the_old_folder_makes_room(path, placed):
    write(path, content="old")
    work = path.with_name("corpus.work")
    work.mkdir()
    (work / "run.json").write_text("a")
    path.rename(work / "old")
    if placed:
        # Killed only after the new one had been put in its place.
        path.mkdir()
        (path / "part").write_text("placed")
        (path / "done").touch()
    with pytest.raises(KeyboardInterrupt):
        write(path, stop_at="part")
    assert (path / "part").read_text() == ("placed" if placed else "old")
    write(path)
    assert (path / "part").read_text() == "new"
    assert listing(path) == ["corpus"]


def test_an_empty_work_folder_is_used(path):
    path.with_name("corpus.work").mkdir()
    assert write(path) == []
    assert listing(path) == ["corpus"]


@pytest.mark.parametrize("name", ["corpus", "corpus.work"])
def test_what_somebody_else_made_is_left_alone(path, name):
    other = path.with_name(name)
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(NunerError, match="N004"):
        write(path)
    assert (other / "thesis.txt").read_text() == "mine"


def test_a_place_that_can_not_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NunerError, match="N003"):
        write(tmp_path / "file" / "corpus")


WAITING = """
import sys, time
from pathlib import Path
from spacy_nuner.cli._util import handle_errors
from spacy_nuner.files import replacing

def command():
    with replacing(Path(sys.argv[1])) as beside:
        beside.write_text("half")
        print("begun", flush=True)
        time.sleep(60)

handle_errors(command)()
"""


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_end_leaves_nothing_behind(path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    assert len(listing(path)) == 1
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGTERM)
    assert listing(path) == []


def test_interrupted_between_two_renames(path, monkeypatch):
    """Ctrl-C when the old folder is out of the way and the new one not yet there."""
    write(path, content="old")
    rename = type(path).rename

    def interrupted(one, target):
        rename(one, target)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(path, marker="done") as beside:
        (beside / "part").write_text("new")
    assert (path / "part").read_text() == "old"
    assert listing(path) == ["corpus"]


def test_only_rows_of_its_own_are_replaced(tmp_path):
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    source = tmp_path / "source.txt"
    own.write_text('{"id": "1", "text": "a"}\n')
    check_own_rows(own, source, keys=("id", "text"))
    check_own_rows(tmp_path / "new.jsonl", source, keys=("id", "text"))
    with pytest.raises(NunerError, match="N110.*it is the input"):
        check_own_rows(own, tmp_path / "." / own.name, keys=("id", "text"))
    for content in ("dear diary", "[1]", '{"id": "1"}', "", "\x00"):
        other.write_text(content)
        with pytest.raises(NunerError, match="N110.*no object with id, text"):
            check_own_rows(other, source, keys=("id", "text"))
