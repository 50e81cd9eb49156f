from types import SimpleNamespace

import pytest

from spacy_nuner.pretrain import trainer as progress
from spacy_nuner.pretrain.trainer import Progress


@pytest.fixture
def steps(monkeypatch):
    """Go through steps of two seconds each; returns what was written."""

    def steps(capsys, *, first, last, whole, log_steps):
        now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: now)
        shown = Progress(rows=1000)
        state = SimpleNamespace(
            max_steps=whole,
            global_step=first,
            epoch=first / 100,
            is_world_process_zero=True,
        )
        shown.on_train_begin(None, state, None)
        for step in range(first + 1, last + 1):
            now += 2
            state.global_step, state.epoch = step, step / 100
            shown.on_step_end(None, state, None)
            if step % log_steps == 0:
                logs = {"loss": 0.25, "learning_rate": 1e-4}
                shown.on_log(None, state, None, logs=logs)
        shown.on_log(None, state, None, logs={"train_loss": 0.2})
        shown.on_train_end(None, state, None)
        return capsys.readouterr().err.splitlines()

    return steps


def test_a_line_for_each_loss_and_an_estimate_after_50_steps(steps, capsys):
    lines = steps(capsys, first=0, last=60, whole=3600, log_steps=40)
    # 10 texts a step.
    assert lines == [
        "step 40 of 3,600: loss 0.2500, rate 1.0e-04, 5 sentences/s, 1:58:40 left",
        "50 steps done; all 3,600 will take about 2:00:00",
    ]


def test_a_run_that_goes_on_counts_from_there(steps, capsys):
    lines = steps(capsys, first=3000, last=3060, whole=3600, log_steps=60)
    assert lines == [
        "50 steps done; all 600 will take about 20:00",
        "step 3,060 of 3,600: loss 0.2500, rate 1.0e-04, 5 sentences/s, 18:00 left",
    ]
