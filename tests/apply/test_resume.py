"""Runs that break off or are killed, and go on where they were."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from spacy_nuner.apply import tag_corpus
from spacy_nuner.apply.parts import PartFiles, TextPart
from spacy_nuner.apply.tagger import TagCounts, Tagged
from spacy_nuner.errors import NunerError
from spacy_nuner.readers import texts
from spacy_nuner.readers.hub import HUB_PREFIX
from spacy_nuner.readers.records import Source

from ..conftest import ROOT, weekly
from .conftest import contents, make_rows, read_jsonl, write_jsonl

PARTS = 10
SCRIPT = """
import sys
from pathlib import Path
from spacy_nuner.apply.tag_corpus import tag_corpus
from spacy_nuner.apply.tagger import TagSettings, hash_pipeline
if __name__ == "__main__":
    pipeline, source, output, n_process = sys.argv[1:]
    settings = TagSettings(pipeline, hash_pipeline(pipeline), "jsonl")
    tag_corpus(settings, source, Path(output), n_process=int(n_process), part_size=390,
               progress=False)
"""


@pytest.fixture
def source(tmp_path):
    # Three rows a part, the last one broken.
    rows = make_rows(3 * PARTS - 1)
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with path.open("ab") as file:
        file.write(b'{"id": "broken", "text"')
    return path


def break_off(tag, source, output, monkeypatch, *, after, **more):
    real, written = TextPart.write, []

    def write(self):
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(self.files.number)
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(TextPart, "write", write)
        with pytest.raises(KeyboardInterrupt):
            tag(source, output, form="jsonl", **more)


def count_written(tag, source, output, monkeypatch, **more):
    real, written = TextPart.write, []

    def write(self):
        written.append(self.files.number)
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(TextPart, "write", write)
        tag(source, output, form="jsonl", **more)
    return written


def test_broken_off_at_each_part(tag, source, tmp_path, monkeypatch):
    whole, output = tmp_path / "whole", tmp_path / "out"
    tag(source, whole, form="jsonl")
    for after in range(PARTS):
        break_off(tag, source, output, monkeypatch, after=after)
        assert not output.exists()
        assert (tmp_path / "out.work").exists() == (after > 0)
        left = list(range(after, PARTS))
        assert count_written(tag, source, output, monkeypatch) == left
        assert contents(output) == contents(whole)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "a.jsonl",
            "out",
            "whole",
        ]
        for path in output.iterdir():
            path.unlink()
        output.rmdir()


def test_a_part_is_done_when_its_file_is_there_and_not_before(
    tag, source, tmp_path, monkeypatch
):
    whole, output = tmp_path / "whole", tmp_path / "out"
    tag(source, whole, form="jsonl")
    replace = type(tmp_path).replace
    steps: list[str] = []
    for kill_at in range(1, 7):
        steps.clear()

        def killed(self, target, limit=kill_at):
            if "parts" in self.parts:
                steps.append(str(target))
                if len(steps) == limit:
                    raise KeyboardInterrupt
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(type(tmp_path), "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                tag(source, output, form="jsonl")
        # Three files a part, that of the tagged rows last.
        done = (kill_at - 1) // 3
        left = count_written(tag, source, output, monkeypatch)
        assert left == list(range(done, PARTS))
        assert contents(output) == contents(whole)
        for path in output.iterdir():
            path.unlink()
        output.rmdir()


@pytest.mark.parametrize("change", ["input", "pipeline", "setting", "size"])
def test_a_change_is_refused_and_nothing_lost(
    tag, source, pipeline, tmp_path, monkeypatch, change
):
    shutil.copytree(pipeline, tmp_path / "nlp")
    pipe = tmp_path / "nlp"
    output = tmp_path / "out"
    break_off(tag, source, output, monkeypatch, after=4, pipe=pipe)
    more = {"form": "jsonl", "pipe": pipe}
    before = source.read_bytes()
    if change == "input":
        source.write_bytes(before + b"\n")
    elif change == "pipeline":
        (pipe / "notes.txt").write_text("another one")
    elif change == "setting":
        more["form"] = "docbin"
    else:
        more["part_size"] = 500
    named = {
        "input": "a change of the input",
        "pipeline": "a change of the files of the pipeline",
        "setting": "a change of the setting form",
        "size": "a change of the size of the parts",
    }
    with pytest.raises(NunerError, match=f"N651.*4 parts.*{named[change]}"):
        tag(source, output, **more)
    source.write_bytes(before)
    (pipe / "notes.txt").unlink(missing_ok=True)
    left = count_written(tag, source, output, monkeypatch, pipe=pipe)
    assert left == list(range(4, PARTS))


def test_a_pipeline_that_was_moved_is_the_same(
    tag, source, pipeline, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    shutil.copytree(pipeline, tmp_path / "one")
    break_off(tag, source, output, monkeypatch, after=4, pipe=tmp_path / "one")
    shutil.copytree(pipeline, tmp_path / "other")
    other = tmp_path / "other"
    left = count_written(tag, source, output, monkeypatch, pipe=other)
    assert left == list(range(4, PARTS))
    assert count_written(tag, source, output, monkeypatch) == []
    report = json.loads((output / "_report.json").read_text("utf8"))
    assert report["pipeline"] == str(other)


def test_an_output_that_is_complete_is_not_made_again(
    tag, source, tmp_path, monkeypatch, caplog
):
    output = tmp_path / "out"
    tag(source, output, form="jsonl")
    assert count_written(tag, source, output, monkeypatch) == []
    assert "is there already" in caplog.text
    assert not (tmp_path / "out.work").exists()
    source.write_bytes(source.read_bytes() + b"\n{}\n")
    assert len(count_written(tag, source, output, monkeypatch)) > PARTS - 1
    # A file of the user's is not lost.
    (output / "notes.txt").write_text("mine")
    with pytest.raises(NunerError, match="N004"):
        tag(source, output, form="docbin")
    assert (output / "notes.txt").read_text() == "mine"


def test_an_input_that_changes_while_it_is_read(tag, source, tmp_path, monkeypatch):
    real, before = tag_corpus._tag, source.stat().st_size

    def tag_and_append(*args, **more):
        done = real(*args, **more)
        with source.open("a", encoding="utf8") as file:
            file.write('{"id": "late", "text": "Porto."}\n')
        return done

    monkeypatch.setattr(tag_corpus, "_tag", tag_and_append)
    with pytest.warns(UserWarning, match="W714.*changed while it was read"):
        report = tag(source, tmp_path / "out")
    assert report["input"][0]["bytes"] == before < source.stat().st_size


def test_an_input_that_is_gone_when_it_was_read(tag, source, tmp_path, monkeypatch):
    real = tag_corpus._tag

    def tag_and_remove(*args, **more):
        done = real(*args, **more)
        source.unlink()
        return done

    monkeypatch.setattr(tag_corpus, "_tag", tag_and_remove)
    with pytest.warns(UserWarning, match="W714"):
        report = tag(source, tmp_path / "out")
    assert report["counts"]["rows"] > 0 and (tmp_path / "out").is_dir()


def test_an_output_outlasts_a_run_of_another_form_that_broke_off(
    tag, source, tmp_path, monkeypatch, caplog
):
    output = tmp_path / "out"
    tag(source, output, form="parquet")
    before = contents(output)
    break_off(tag, source, output, monkeypatch, after=4)
    tag(source, output, form="parquet")
    assert "is there already" in caplog.text
    assert contents(output) == before
    # Nor is the other run lost.
    left = count_written(tag, source, output, monkeypatch)
    assert left == list(range(4, PARTS))
    assert len(read_jsonl(output)) == 3 * PARTS - 1
    assert not (tmp_path / "out.work").exists()


@pytest.fixture
def local_set(tmp_path, source, monkeypatch):
    """A data set in a folder, which is read by the library of the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "set"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", make_rows(3 * PARTS))
    return f"{HUB_PREFIX}{folder}"


def test_a_data_set_in_a_folder_is_gone_on_with(
    tag, local_set, tmp_path, monkeypatch, caplog
):
    output = tmp_path / "out"
    break_off(tag, local_set, output, monkeypatch, after=4)
    assert count_written(tag, local_set, output, monkeypatch)[0] == 4
    assert len(read_jsonl(output)) == 3 * PARTS
    tag(local_set, output, form="jsonl")
    assert "is there already" in caplog.text
    # Not where it was changed.
    other = tmp_path / "other"
    break_off(tag, local_set, other, monkeypatch, after=4)
    write_jsonl(tmp_path / "set" / "a.jsonl", make_rows(3 * PARTS + 1))
    with pytest.raises(NunerError, match="N651.*the input"):
        tag(local_set, other, form="jsonl")


def test_a_data_set_on_the_hub_is_gone_on_with_at_its_commit(
    tag, tmp_path, monkeypatch
):
    name, commits, read = f"{HUB_PREFIX}owner/set", ["1" * 40], []

    def find(source, *, split=None):
        commit = source.partition("@")[2] or commits[-1]
        return Source(source, "hub", "train", commit)

    def read_rows(source, *, seed=None):
        read.append((source.revision, source.split))
        yield from ({"text": row["text"]} for row in make_rows(3 * PARTS))

    monkeypatch.setattr(tag_corpus, "find_on_hub", find)
    monkeypatch.setattr(texts, "find_on_hub", find)
    monkeypatch.setattr(texts, "read_hub", read_rows)
    whole, output = tmp_path / "whole", tmp_path / "out"
    tag(name, whole, form="jsonl")
    for again in (name, f"{name}@{commits[0]}"):
        break_off(tag, name, output, monkeypatch, after=4)
        commits.append("2" * 40)
        # Another commit is another corpus, if it is asked for.
        with pytest.raises(NunerError, match="N651.*the input"):
            tag(f"{name}@{commits[1]}", output, form="jsonl")
        # Nothing is asked of the hub that may not be there.
        assert count_written(tag, again, output, monkeypatch)[0] == 4
        assert contents(output) == contents(whole)
        shutil.rmtree(output)
        commits.pop()
    assert set(read) == {(commits[0], "train")}


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_part_of_which_a_file_was_lost_is_tagged_again(
    tag, source, tmp_path, monkeypatch, suffix
):
    """After a loss of power, names may be there in one folder and not in the other."""
    whole, output = tmp_path / "whole", tmp_path / "out"
    tag(source, whole, form="jsonl")
    break_off(tag, source, output, monkeypatch, after=4)
    (tmp_path / "out.work" / "parts" / f"000002.{suffix}").unlink()
    written = count_written(tag, source, output, monkeypatch)
    assert written == [2, *range(4, PARTS)]
    assert contents(output) == contents(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="folders can't be synchronised")
def test_files_and_folders_of_a_part_are_synchronised(tmp_path, monkeypatch):
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino))
    for name in ("new", "parts"):
        (tmp_path / name).mkdir()
    files = PartFiles(tmp_path / "new", tmp_path / "parts", 3, "jsonl")
    files.write(Tagged(b"1", b"2", TagCounts()), {})
    paths = sorted(tmp_path.rglob("*"))
    assert len(paths) == 5
    assert synced == {path.stat().st_ino for path in paths}


@pytest.mark.weekly
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_with_two_processes_and_gone_on_with_by_one(
    tag, source, pipeline, tmp_path
):
    whole, output = tmp_path / "whole", tmp_path / "out"
    tag(source, whole, form="jsonl")
    (tmp_path / "run.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "run.py", pipeline, source, output, "2"]
    new = tmp_path / "out.work" / "new" / "out"
    environment = {**os.environ, "PYTHONPATH": str(pipeline.parent)}
    process = subprocess.Popen([str(one) for one in command], cwd=ROOT, env=environment)
    end = time.monotonic() + 300
    while len(list(new.glob("*.jsonl"))) < 2:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_ino for path in new.glob("*.jsonl")}
    assert len(kept) >= 2 and not output.exists()
    tag(source, output, form="jsonl")
    assert contents(output) == contents(whole)
    assert all((output / name).stat().st_ino == kept[name] for name in kept)
    ids = [row["id"] for row in read_jsonl(output)]
    assert ids == [str(n) for n in range(3 * PARTS - 1)]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", *weekly("docbin")])
def test_two_processes_write_what_one_does(tag, source, tmp_path, form):
    tag(source, tmp_path / "one", form=form)
    tag(source, tmp_path / "two", form=form, n_process=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
