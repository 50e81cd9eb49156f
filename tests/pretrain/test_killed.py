"""No run is lost: killed, asked to end."""

import os
import re
import shlex
import signal

import pytest

from ..conftest import weekly
from ..forker import Forker
from .conftest import SENTENCES, write_corpus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="forks and kills"),
]

# Sends its own process a signal where the file beside it says: at a call of the
# objective, or when a part of a checkpoint has been written.
CODE = """
import os
from pathlib import Path
import torch
from spacy.util import registry
from spacy_nuner.pretrain.model import sigmoid_cross_entropy

plan = Path(__file__).with_name("plan.txt").read_text().split()
save, calls = torch.save, []

def strike(event):
    if plan and plan[0] == event:
        os.kill(os.getpid(), int(plan[1]))

def save_and_strike(content, path, *args, **kwargs):
    save(content, path, *args, **kwargs)
    path = Path(str(path))
    strike(f"{path.parent.name}/{path.name}")

torch.save = save_and_strike

@registry.misc("test.StrikingObjective.v1")
def make():
    def objective(logits, targets):
        calls.append(1)
        strike(f"call-{len(calls)}")
        return sigmoid_cross_entropy(logits, targets)
    return objective
"""


@pytest.fixture(scope="module")
def forker():
    modules = ("spacy_nuner.cli.app", "spacy_nuner.pretrain.run")
    forker = Forker(*modules, env={"OMP_NUM_THREADS": "1"})
    yield forker
    forker.close()


@pytest.fixture
def start(tmp_path, bert, make_config, forker):
    """Run `pretrain`; it gets a signal at an event."""
    corpus = write_corpus(tmp_path / "corpus", SENTENCES * 2)
    config = make_config(
        corpus,
        bert,
        **{"objective.@misc": "test.StrikingObjective.v1"},
        training__epochs=4,
        training__save_steps=2,
    )
    config.to_disk(tmp_path / "config.cfg")
    (tmp_path / "code.py").write_text(CODE)

    def start(name, *options, event="never", by=0):
        (tmp_path / "plan.txt").write_text(f"{event} {int(by)}")
        log = tmp_path / "log.txt"
        arguments = [str(tmp_path / "config.cfg"), str(tmp_path / name)]
        code = ["--code", str(tmp_path / "code.py")]
        child = forker.start("pretrain", *arguments, *code, *options, output=log)
        return forker.wait(child), log.read_text()

    return start


def weights(folder):
    return [
        (folder / part / "model.safetensors").read_bytes()
        for part in (".", "concept_encoder")
    ]


@pytest.mark.weekly
def test_a_run_that_was_killed_again_and_again_ends_with_the_same_weights(
    tmp_path, start
):
    code, log = start("whole")
    assert code == 0, log
    assert "20 steps, loss" in " ".join(log.split())
    options = ()
    # In step 4; while the checkpoints of steps 4, 8 and 10 are written; in step 13.
    for event, left in (
        ("call-4", [2]),
        ("checkpoint-4/optimizer.pt", [2]),
        ("checkpoint-8/scheduler.pt", [4, 6]),
        ("checkpoint-10/rng_state.pth", [6, 8]),
        ("call-5", [10, 12]),
    ):
        code, log = start("broken", *options, event=event, by=signal.SIGKILL)
        assert code == -signal.SIGKILL, log
        assert not (tmp_path / "broken").exists()
        found = (tmp_path / "broken.work" / "checkpoints").glob("*/complete")
        steps = sorted(int(path.parent.name.rpartition("-")[2]) for path in found)
        assert steps == left, event
        options = ("--resume",)
    code, log = start("broken", "--resume")
    assert code == 0, log
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert not (tmp_path / "broken.work").exists()


@pytest.mark.parametrize("by", [signal.SIGINT, *weekly(signal.SIGTERM)])
def test_a_run_that_was_asked_to_end_says_how_to_go_on(tmp_path, start, by):
    code, log = start("out", event="call-6", by=by)
    assert code not in (0, 70), log
    text = " ".join(log.split())
    assert "W302" in text and "checkpoint of step 4" in text, log
    command = re.search("Resume with: spacy nuner pretrain (.* --resume)", text)[1]
    files = [str(tmp_path / name) for name in ("config.cfg", "out", "code.py")]
    config, out, code = map(shlex.quote, files)
    assert command == f"{config} {out} --code {code} --resume"
    code, log = start("out", "--resume")
    assert code == 0, log
