"""The pool of processes that resumes by part."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from tqdm import tqdm

from spacy_nuner.errors import NunerError
from spacy_nuner.parallel import THREADS, write_parts


@dataclass
class Count:
    """Writes its number and the process that did it."""

    folder: Path
    number: int
    size: int = 2

    @property
    def path(self):
        return self.folder / str(self.number)

    def is_done(self):
        return self.path.exists()

    def write(self):
        self.path.write_text(str(os.getpid()))


@dataclass
class CountThreads(Count):
    def write(self):
        self.path.write_text(" ".join(os.environ[name] for name in THREADS))


@dataclass
class Dying(Count):
    def write(self):
        if self.number == 2:
            os._exit(9)
        super().write()


@dataclass
class Refusing(Count):
    def write(self):
        raise ValueError(f"part {self.number}")


def run(parts, n_process):
    with tqdm(disable=True) as bar:
        advanced = []
        bar.update = advanced.append
        return write_parts(parts, n_process=n_process, bar=bar), sum(advanced)


@pytest.mark.parametrize("n_process", [1, 2])
def test_what_is_done_is_not_done_again(tmp_path, n_process):
    parts = [Count(tmp_path, number) for number in range(5)]
    parts[1].path.write_text("before")
    assert run(parts, n_process) == (5, 10)
    processes = {part.path.read_text() for part in parts} - {"before"}
    assert parts[1].path.read_text() == "before"
    assert (str(os.getpid()) in processes) == (n_process == 1)


def test_a_single_part_needs_no_second_process(tmp_path):
    parts = [Count(tmp_path, 0), Count(tmp_path, 1)]
    parts[0].path.touch()
    assert run(parts, 2) == (2, 4)
    assert parts[1].path.read_text() == str(os.getpid())


def test_processes_have_one_thread_each(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MKL_NUM_THREADS", "8")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    parts = [CountThreads(tmp_path, number) for number in range(3)]
    run(parts, 2)
    assert {part.path.read_text() for part in parts} == {"1 1 1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ["MKL_NUM_THREADS"] == "8"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


@pytest.mark.weekly
def test_parts_are_read_ahead_by_one_a_process(tmp_path):
    read = []

    def parts():
        for number in range(8):
            done = len(list(tmp_path.iterdir()))
            read.append(number - done)
            yield Count(tmp_path, number)

    assert run(parts(), 2) == (8, 16)
    assert max(read) <= 3


def test_a_process_that_dies_is_an_error(tmp_path):
    parts = [Dying(tmp_path, number) for number in range(4)]
    with pytest.raises(NunerError, match="N106.*2 processes"):
        run(parts, 2)


@pytest.mark.parametrize("n_process", [1, 2])
def test_an_error_of_a_part_comes_through(tmp_path, n_process):
    with pytest.raises(ValueError, match="part"):
        run([Refusing(tmp_path, number) for number in range(3)], n_process)
