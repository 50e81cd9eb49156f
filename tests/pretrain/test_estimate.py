"""A run is estimated by steps of its own, and loses nothing by it."""

import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain import estimate as module
from spacy_nuner.pretrain import run as run_module
from spacy_nuner.pretrain.data.batches import LengthBatches
from spacy_nuner.pretrain.estimate import LongestFirst, estimate
from spacy_nuner.pretrain.run import pretrain

from ..conftest import ROOT
from .conftest import SENTENCES, no_traces, write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

# Five sentences, two at a time.
STEPS = 12


class Count(TrainerCallback):
    """Counts what a real run does, and breaks off before a step."""

    def __init__(self, last=STEPS):
        self.last, self.evaluations, self.checkpoints = last, 0, 0

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step > self.last:
            raise KeyboardInterrupt

    def on_evaluate(self, args, state, control, **kwargs):
        self.evaluations += 1

    def on_save(self, args, state, control, **kwargs):
        self.checkpoints += 1


def probe(tokenizer, encoder, hidden_layers):
    return {"probe_token_f": 0.5}


@pytest.fixture
def make(corpus, bert, make_config):
    def make(every=0, save=0, **more):
        return make_config(
            corpus,
            bert,
            training__epochs=4,
            training__save_steps=save,
            evaluation__every_steps=every,
            **more,
        )

    return make


def read_weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("every", "save", "best"),
    [
        (7, 3, False),
        (4, 9, True),
        *(
            pytest.param(*case, marks=pytest.mark.weekly)
            for case in ((5, 5, False), (4, 4, False), (0, 0, False))
        ),
    ],
)
def test_evaluations_and_checkpoints_are_those_of_the_run(
    tmp_path, make, every, save, best
):
    more = {}
    if best:
        sets = dict.fromkeys(("probe_train", "probe_dev"), str(tmp_path / "set.conll"))
        more = {f"evaluation__{key}": path for key, path in sets.items()}
        more["evaluation__keep_best"] = True
    config, counted = make(every, save, **more), Count()
    found = estimate(config, tmp_path / "out", probe=probe)
    assert (found.steps, found.done, found.texts) == (STEPS, 0, 5)
    pretrain(config, tmp_path / "out", probe=probe, callbacks=[counted])
    assert found.evaluations == counted.evaluations
    assert found.checkpoints == counted.checkpoints
    for count, seconds in (
        (found.evaluations, found.evaluation),
        (found.checkpoints, found.checkpoint),
    ):
        assert (seconds > 0) == (count > 0)
    # All steps behind the first five.
    assert found.timed == STEPS - module.WARM_UP
    assert found.training > 0 and found.texts_per_second > 0
    assert found.error < found.training
    total = found.training + found.evaluation + found.checkpoint
    assert found.seconds == pytest.approx(total)


def test_the_run_takes_over_the_features_and_learns_the_same(
    tmp_path, make, monkeypatch, caplog
):
    config, out = make(5, 5), tmp_path / "out"
    pretrain(config, tmp_path / "whole")
    found = estimate(config, out)
    assert "There is nothing to resume" not in caplog.text
    assert no_traces(tmp_path, "whole", "out.work")
    work = tmp_path / "out.work"
    assert not (work / "timing").exists()
    assert not list(work.glob("checkpoints/*"))
    written = sum(path.stat().st_size for path in tmp_path.glob("whole/*.safetensors"))
    assert found.disk > written
    # Weights of at least this size were in memory.
    assert found.memory is None or found.memory > written

    # As a process leaves it that was killed while it timed a checkpoint.
    (work / "timing" / "checkpoint-9").mkdir(parents=True)
    (work / "timing" / "checkpoint-9" / "optimizer.pt").touch()

    def refuse(*args, **kwargs):
        raise AssertionError("the features are there")

    monkeypatch.setattr(run_module, "build_features", refuse)
    pretrain(config, out)
    assert no_traces(tmp_path, "whole", "out")
    assert read_weights(out) == read_weights(tmp_path / "whole")


def test_what_is_left_of_a_run_that_broke_off(tmp_path, make, caplog):
    config, out = make(5, 4), tmp_path / "out"
    pretrain(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, out, callbacks=[Count(last=6)])
    # As the run itself would.
    with pytest.raises(NunerError, match="N311"):
        estimate(config, out)
    counted = Count()
    found = estimate(config, out, resume=True)
    assert (found.steps, found.done) == (STEPS - 4, 4)
    with pytest.raises(NunerError, match=r"N312.*evaluation\.every_steps"):
        estimate(make(3, 4), out, resume=True)
    pretrain(config, out, resume=True, probe=probe, callbacks=[counted])
    assert found.evaluations == counted.evaluations
    assert found.checkpoints == counted.checkpoints
    assert read_weights(out) == read_weights(tmp_path / "whole")
    assert no_traces(tmp_path, "whole", "out")
    caplog.clear()
    assert estimate(config, out, resume=True) is None
    assert "nothing is left to do" in caplog.text
    assert no_traces(tmp_path, "whole", "out")
    # Without it the run begins anew, and replaces what stands.
    assert estimate(config, out).steps == STEPS
    assert read_weights(out) == read_weights(tmp_path / "whole")


def test_it_stops_when_it_knows_enough(tmp_path, make, monkeypatch):
    monkeypatch.setattr(module, "MIN_STEPS", 3)
    assert estimate(make(), tmp_path / "out", seconds=0).timed == 3
    assert estimate(make(), tmp_path / "out", seconds=math.inf).timed == 7


def test_a_run_of_one_step(tmp_path, corpus, bert, make_config):
    config = make_config(corpus, bert, training__epochs=1, training__batch_size=9)
    found = estimate(config, tmp_path / "out")
    assert (found.steps, found.timed, found.error) == (1, 1, 0)


def test_what_does_not_fit_shows_in_the_first_step(tmp_path, make, monkeypatch):
    sizes = []

    def fill_up(self, model, inputs, *args):
        sizes.append(inputs["input_ids"].numel())
        raise torch.OutOfMemoryError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(run_module.PretrainTrainer, "training_step", fill_up)
        with pytest.raises(NunerError, match="N700"):
            estimate(make(), tmp_path / "out")
    step, all_sizes = run_module.PretrainTrainer.training_step, []

    def note(self, model, inputs, *args):
        all_sizes.append(inputs["input_ids"].numel())
        return step(self, model, inputs, *args)

    monkeypatch.setattr(run_module.PretrainTrainer, "training_step", note)
    pretrain(make(), tmp_path / "out")
    assert sizes == [max(all_sizes)]


def test_the_longest_batch_comes_first_and_none_is_lost():
    lengths = np.random.default_rng(0).integers(3, 128, 101)
    usual, sorted_ = LengthBatches(lengths, 4, 0), LongestFirst(lengths, 4, 0)
    first, *rest = list(sorted_)
    assert sorted([first, *rest]) == sorted(usual)
    assert [batch for batch in usual if batch != first] == rest
    assert max(lengths[first]) == max(lengths)


@pytest.mark.weekly
def test_two_devices(tmp_path, bert, make_config):
    """Both stop after the same step, and one of them tells."""
    corpus = write_corpus(tmp_path / "corpus", SENTENCES * 20)
    config = make_config(corpus, bert, training__epochs=9)
    config.to_disk(tmp_path / "config.cfg")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "2", "-m", "tests.pretrain.short_dry_run", "pretrain"),
        *("--dry-run", str(tmp_path / "config.cfg"), str(tmp_path / "two")),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("in all", done.stdout)) == 1
    assert re.search(r"steps +450 ", done.stdout), done.stdout
    assert re.search(rf"by {module.MIN_STEPS} of them", done.stdout), done.stdout
    assert no_traces(tmp_path, "corpus", "config.cfg", "two.work")
