"""Several devices learn what one does."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from spacy_nuner.encoders.folder import read_info
from spacy_nuner.pretrain import run as training

from ..conftest import ROOT
from . import proportional
from .conftest import SENTENCES, write_corpus

pytestmark = pytest.mark.slow


@pytest.fixture
def steady(tmp_path, bert):
    """A base without dropout, which no two devices draw alike."""
    folder = tmp_path / "steady"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def read_losses(lines):
    return [float(found) for found in re.findall(r"step .*: loss ([0-9.]+)", lines)]


def test_two_devices_learn_what_one_does(
    tmp_path, steady, make_config, one_thread, capfd, monkeypatch
):
    """The same curve of the loss and the same weights, but for rounding.

    Some batches have an odd number of texts or concepts, and each text is compared
    with the concepts of both devices.
    """
    corpus = write_corpus(tmp_path / "corpus", SENTENCES * 3)
    config = make_config(
        corpus,
        steady,
        model__frozen_layers=2,
        training__batch_size=3,
        training__learn_rate=0.3,
    )
    config.to_disk(tmp_path / "config.cfg")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "2", "-m", "tests.pretrain.proportional", "pretrain"),
        *(str(tmp_path / "config.cfg"), str(tmp_path / "two")),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    two = read_losses(done.stderr)
    monkeypatch.setattr(training, "training_arguments", proportional.arguments)
    training.pretrain(config, tmp_path / "one")
    one = read_losses(capfd.readouterr().err)
    # Losses are written with four decimals.
    assert two == pytest.approx(one, abs=1.1e-4)
    assert len(one) == read_info(tmp_path / "two").training["steps"] >= 6
    base = load_file(steady / "model.safetensors")
    moved = 0
    for part in ("model.safetensors", "concept_encoder/model.safetensors"):
        ours, theirs = (load_file(tmp_path / name / part) for name in ("one", "two"))
        for name, weights in ours.items():
            way = weights - base[name]
            # The bias of the keys has no gradient but rounding.
            if "key.bias" not in name:
                moved += bool(way.any())
                assert (weights - theirs[name]).norm() <= 0.001 * way.norm(), name
    # All weights of the two trained layers of both encoders.
    assert moved == 2 * 2 * 15
    # Nothing stays behind beside the two.
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"one", "two", "corpus", "steady", "config.cfg"}


@pytest.mark.weekly
def test_torchrun_takes_the_command_itself(tmp_path, bert, make_config):
    corpus = write_corpus(tmp_path / "corpus", SENTENCES)
    make_config(corpus, bert).to_disk(tmp_path / "config.cfg")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "2", "-m", "spacy_nuner", "pretrain"),
        *(str(tmp_path / "config.cfg"), str(tmp_path / "two")),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert (
        len(read_losses(done.stderr)) == read_info(tmp_path / "two").training["steps"]
    )
