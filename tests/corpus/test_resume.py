"""A conversion in several processes, killed and gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from spacy_nuner.corpus.convert import convert
from spacy_nuner.corpus.row_to_doc import ConvertSettings
from spacy_nuner.corpus.shards import Chunk
from spacy_nuner.errors import NunerError

from ..conftest import ROOT

pytestmark = pytest.mark.slow


ROWS = 180
SHARD = 30
SCRIPT = """
import sys
from pathlib import Path
from spacy_nuner.corpus.convert import convert
source, output = map(Path, sys.argv[1:])
convert([source], output, shard_size=%d, n_process=2, progress=False)
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "answers.jsonl"
    with path.open("w", encoding="utf8") as file:
        for n in range(ROWS):
            # Some rows to refuse, to lose and to drop, in every shard.
            answer = f"Lisbon <> city {n % 7} <> big\nPorto <> x\n" * (n % 6 > 0)
            text = f"Room {n} in Lisbon, café {n}."
            file.write(json.dumps({"text": text, "answer": answer}) + "\n")
    return path


def run(source, output, **more):
    return convert([source], output, shard_size=SHARD, progress=False, **more)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wait_for(what, process=None):
    end = time.monotonic() + 120
    while not what():
        assert process is None or process.poll() is None, "it ended too early"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def children(pid):
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    )
    return [int(word) for word in listed.stdout.split()]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_killed_with_two_processes_and_gone_on_with_in_one(source, tmp_path):
    whole = tmp_path / "whole"
    run(source, whole)
    output = tmp_path / "corpus"
    command = [sys.executable, "-c", SCRIPT % SHARD, str(source), str(output)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    shards = tmp_path / "corpus.work" / "new" / "corpus"
    parts = tmp_path / "corpus.work" / "parts"
    wait_for(lambda: len(list(parts.glob("*.json"))) >= 2, process)
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # Processes that wait for work would wait for ever.
    wait_for(lambda: not any(is_alive(pid) for pid in workers))
    assert not output.exists()

    done = {
        path.stem: (shards / f"{path.stem}.spacy").stat().st_ino
        for path in parts.glob("*.json")
    }
    assert len(done) >= 2
    # A shard that is damaged is made again.
    broken, *kept = sorted(done)
    (shards / f"{broken}.spacy").write_bytes(b"half")
    run(source, output)
    assert contents(output) == contents(whole)
    inodes = {stem: (output / f"{stem}.spacy").stat().st_ino for stem in done}
    assert {stem for stem in done if inodes[stem] == done[stem]} >= set(kept)
    assert not (tmp_path / "corpus.work").exists()


def test_two_processes_write_what_one_does(source, tmp_path):
    one = run(source, tmp_path / "one", n_process=1)
    two = run(source, tmp_path / "two", n_process=2)
    assert one == two
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(one["shards"]) == ROWS // SHARD
    assert one["records"]["quarantined"] == {"empty answer": ROWS // 6}
    assert one["annotations"]["lost"]["not in the text"] == ROWS - ROWS // 6


def interrupt(source, output, monkeypatch, *, after):
    """Break off when so many chunks are written."""
    real, written = Chunk.write, []

    def write(self):
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(self.files.number)
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Chunk, "write", write)
        with pytest.raises(KeyboardInterrupt):
            run(source, output)


def count_written(source, output, monkeypatch, **more):
    real, written = Chunk.write, []

    def write(self):
        written.append(self.files.number)
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Chunk, "write", write)
        run(source, output, **more)
    return written


def test_only_what_is_missing_is_done_again(source, tmp_path, monkeypatch, caplog):
    output = tmp_path / "corpus"
    interrupt(source, output, monkeypatch, after=3)
    assert not output.exists()
    assert count_written(source, output, monkeypatch) == [3, 4, 5]
    assert "Resuming an interrupted run that wrote 3 shards." in caplog.text
    run(source, tmp_path / "whole")
    assert contents(output) == contents(tmp_path / "whole")


def test_a_folder_in_the_place_of_the_hub_is_gone_on_with(
    source, tmp_path, monkeypatch
):
    output, folder = tmp_path / "corpus", tmp_path / "set"
    folder.mkdir()
    shutil.copy(source, folder / "train.jsonl")
    name = f"hub:{folder}"
    interrupt(name, output, monkeypatch, after=3)
    assert count_written(name, output, monkeypatch) == [3, 4, 5]
    assert not list(tmp_path.glob("*.work"))
    interrupt(name, output, monkeypatch, after=3)
    with (folder / "train.jsonl").open("a", encoding="utf8") as file:
        file.write('{"text": "In Rome.", "answer": "Rome <> city"}\n')
    assert count_written(name, output, monkeypatch)[:3] == [0, 1, 2]


@pytest.mark.parametrize("change", ["settings", "limit", "input"])
def test_another_run_begins_anew(source, tmp_path, monkeypatch, change):
    output = tmp_path / "corpus"
    interrupt(source, output, monkeypatch, after=3)
    more = {}
    if change == "settings":
        more = {"settings": ConvertSettings(ignore_case=False)}
    elif change == "limit":
        more = {"limit": 100}
    else:
        with source.open("a", encoding="utf8") as file:
            file.write('{"text": "In Rome.", "answer": "Rome <> city"}\n')
    written = count_written(source, output, monkeypatch, **more)
    assert written[:3] == [0, 1, 2]
    run(source, tmp_path / "whole", **more)
    assert contents(output) == contents(tmp_path / "whole")


def test_an_earlier_corpus_stands_until_the_new_one_is_whole(
    source, tmp_path, monkeypatch
):
    output = tmp_path / "corpus"
    run(source, output)
    before = contents(output)
    with source.open("a", encoding="utf8") as file:
        file.write('{"text": "In Rome.", "answer": "Rome <> city"}\n')
    interrupt(source, output, monkeypatch, after=3)
    assert contents(output) == before
    run(source, output)
    assert contents(output) != before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "answers.jsonl",
        "corpus",
    ]


def test_broken_off_before_the_first_shard_leaves_nothing(
    source, tmp_path, monkeypatch
):
    interrupt(source, tmp_path / "corpus", monkeypatch, after=0)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]


def test_a_work_folder_of_somebody_else_is_left_alone(source, tmp_path):
    (tmp_path / "corpus.work").mkdir()
    (tmp_path / "corpus.work" / "thesis.txt").write_text("mine")
    with pytest.raises(NunerError, match=r"N004.*corpus\.work"):
        run(source, tmp_path / "corpus")
    assert (tmp_path / "corpus.work" / "thesis.txt").read_text() == "mine"
