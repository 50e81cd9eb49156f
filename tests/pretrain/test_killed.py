"""No run is lost: killed, asked to end, out of room."""

import os
import random
import re
import signal
import time

import pytest

from ..forker import Forker
from .conftest import SENTENCES, write_corpus

EPOCHS = 6

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and kills")


@pytest.fixture(scope="module")
def forker():
    modules = ("spacy_nuner.cli.app", "spacy_nuner.pretrain.run")
    forker = Forker(*modules, env={"OMP_NUM_THREADS": "1"})
    yield forker
    forker.close()


@pytest.fixture
def start(tmp_path, bert, make_config, forker):
    """Start `pretrain` and wait for it to end, or until a checkpoint stands."""
    corpus = write_corpus(tmp_path / "corpus", SENTENCES * 2)
    config = make_config(corpus, bert, training__epochs=EPOCHS, training__save_steps=2)
    config.to_disk(tmp_path / "config.cfg")

    def start(name, *options, until=None, ended_by=None):
        out, log = tmp_path / name, tmp_path / "log.txt"
        arguments = [str(tmp_path / "config.cfg"), str(out), *options]
        child = forker.start("pretrain", *arguments, output=log)
        if until is not None:
            place = out.with_name(f"{name}.work") / "checkpoints"
            deadline = time.monotonic() + 60
            while last_step(place) < until:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.001)
            # Into the middle of a step or of saving.
            time.sleep(random.uniform(0, 0.05))
            os.kill(child, ended_by)
        return forker.wait(child), log.read_text()

    return start


def last_step(checkpoints):
    names = [path.name for path in checkpoints.glob("checkpoint-*")]
    return max((int(name.rpartition("-")[2]) for name in names), default=0)


def weights(folder):
    return [
        (folder / part / "model.safetensors").read_bytes()
        for part in (".", "concept_encoder")
    ]


def test_a_run_that_was_killed_again_and_again_ends_with_the_same_weights(
    tmp_path, start
):
    code, log = start("whole")
    assert code == 0, log
    steps = int(re.search(r"([0-9]+) steps, loss", log)[1])
    moments = sorted(random.sample(range(2, steps // 2), 3))
    options = ()
    for moment in moments:
        code, log = start("broken", *options, until=moment, ended_by=signal.SIGKILL)
        assert code == -signal.SIGKILL, log
        assert not (tmp_path / "broken").exists()
        options = ("--resume",)
    code, log = start("broken", "--resume")
    assert code == 0, log
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole"), moments
    assert not (tmp_path / "broken.work").exists()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_asked_to_end_says_how_to_go_on(tmp_path, start, by):
    code, log = start("out", until=4, ended_by=by)
    assert code not in (0, 70), log
    told = " ".join(log.split())
    assert re.search("W302.* checkpoint of step ([4-9]|1[0-9]) stands", told), log
    command = re.search("Go on with: spacy nuner pretrain (.* --resume)", told)[1]
    assert command == f"{tmp_path / 'config.cfg'} {tmp_path / 'out'} --resume"
    code, log = start("out", "--resume")
    assert code == 0, log
