"""Pre-training on a CUDA device learns what it learns on the processor."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import AutoModel, TrainerCallback

from spacy_nuner.pretrain.run import pretrain

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
PARTS = ("model.safetensors", "concept_encoder/model.safetensors")


@pytest.fixture
def gpu_id(device):
    return -1 if device == "cpu" else 0


class BreakOff(TrainerCallback):
    """Ends a run as Ctrl-C does, after some steps."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def assert_alike(one, other, *, most):
    """The weights of two backbones; `most` is the largest difference."""
    for part in PARTS:
        first, second = load_file(one / part), load_file(other / part)
        assert set(first) == set(second)
        for name, weights in first.items():
            # The bias of the keys has no gradient but rounding.
            if "key.bias" not in name:
                np.testing.assert_allclose(second[name], weights, atol=most, rtol=0)


def test_it_learns_what_the_processor_does(tmp_path, corpus, bert, make_config, gpu_id):
    settings = {"training__epochs": 4, "training__learn_rate": 1e-4}
    config = make_config(corpus, bert, **settings)
    ours = pretrain(config, tmp_path / "device", gpu_id=gpu_id)
    theirs = pretrain(config, tmp_path / "cpu")
    assert ours.training["steps"] == theirs.training["steps"] == 12
    loss = theirs.training["final_loss"]
    assert ours.training["final_loss"] == pytest.approx(loss, rel=0.02)
    assert_alike(tmp_path / "device", tmp_path / "cpu", most=5e-4)
    AutoModel.from_pretrained(tmp_path / "device")


def test_bf16(tmp_path, corpus, bert, make_config, gpu_id):
    losses = []
    for precision in ("fp32", "bf16"):
        config = make_config(corpus, bert, training__precision=precision)
        info = pretrain(config, tmp_path / precision, gpu_id=gpu_id)
        losses.append(info.training["final_loss"])
    first, second = (load_file(tmp_path / name / PARTS[0]) for name in ("fp32", "bf16"))
    assert any((first[name] != second[name]).any() for name in first)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_a_run_that_broke_off_goes_on(tmp_path, corpus, bert, make_config, gpu_id):
    settings = {"training__epochs": 4, "training__save_steps": 2}
    config = make_config(corpus, bert, **settings)
    pretrain(config, tmp_path / "whole", gpu_id=gpu_id)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "broken", gpu_id=gpu_id, callbacks=[BreakOff(7)])
    info = pretrain(config, tmp_path / "broken", gpu_id=gpu_id, resume=True)
    assert info.training["steps"] == 12
    assert_alike(tmp_path / "whole", tmp_path / "broken", most=1e-5)
