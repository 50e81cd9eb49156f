import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from safetensors.torch import load_file
from thinc.api import Config
from transformers import AutoModel
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.folder import load_background, read_info
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.average import average_backbones
from spacy_nuner.pretrain.run import find_finished, pretrain
from spacy_nuner.pretrain.settings import read_config

from ..conftest import ROOT
from .conftest import SENTENCES, no_traces, write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
PARTS = ("model.safetensors", "concept_encoder/model.safetensors")


@pytest.fixture(scope="module")
def make_run(tmp_path_factory, corpus, bert):
    """Pre-train with other settings than those of the shipped config."""
    folder = tmp_path_factory.mktemp("runs")

    def make(name: str, **overrides) -> Path:
        settings = {
            "paths.corpus": str(corpus),
            "paths.base": str(bert),
            "features.max_length": 48,
            "training.batch_size": 2,
            "training.precision": "fp32",
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        config = read_config(ROOT / "configs" / "pretrain.cfg", settings)
        pretrain(config, folder / name, command=f"spacy nuner pretrain {name}")
        return folder / name

    return make


@pytest.fixture(scope="module")
def runs(make_run) -> list[Path]:
    return [make_run(str(seed), training__seed=seed) for seed in range(3)]


def test_weights_are_the_mean(tmp_path, runs, bert):
    info = average_backbones(runs, tmp_path / "mean", command="spacy nuner average")
    assert read_info(tmp_path / "mean") == info
    assert no_traces(tmp_path, "mean")
    base = load_file(bert / "model.safetensors")
    for part in PARTS:
        found = load_file(tmp_path / "mean" / part)
        single = [load_file(run / part) for run in runs]
        assert found.keys() == single[0].keys()
        changed = 0
        for name, weights in found.items():
            mean = sum(one[name].double() for one in single) / 3
            assert torch.allclose(weights.double(), mean, rtol=1e-6), name
            if torch.equal(single[0][name], base[name]):
                # What was frozen is what it was, to the bit.
                assert torch.equal(weights, base[name])
            else:
                changed += not torch.equal(single[0][name], single[1][name])
        assert changed > 10
    infos = [read_info(run) for run in runs]
    assert info.scale == pytest.approx(np.mean([one.scale for one in infos]))
    assert info.bias == pytest.approx(np.mean([one.bias for one in infos]))
    assert info.training["averaged"] == 3
    assert [run["seed"] for run in info.training["runs"]] == [0, 1, 2]
    assert info.training["steps"] == sum(one.training["steps"] for one in infos)
    card = (tmp_path / "mean" / "README.md").read_text(encoding="utf8")
    assert all(f"spacy nuner pretrain {seed}\n" in card for seed in range(3))
    assert "| averaged | 3 |" in card


def test_the_mean_is_a_backbone(tmp_path, runs):
    """It goes wherever a backbone of one run goes."""
    average_backbones(runs[:2], tmp_path / "mean")
    assert AutoModel.from_pretrained(tmp_path / "mean").config.num_hidden_layers == 4
    assert ConceptEncoder.from_folder(tmp_path / "mean").encode(["city"]).any()
    nlp = spacy.blank("en")
    backbone = {"backbone": str(tmp_path / "mean"), "labels": ["city", "year"]}
    nlp.add_pipe("nuner_concepts", config=backbone)
    assert "concepts" in nlp("Rashomon was filmed in Nara in 1949.").spans


def test_each_run_gives_as_much_ordinary_text(tmp_path, runs, monkeypatch):
    monkeypatch.setattr("spacy_nuner.pretrain.average.COUNT", 12)
    average_backbones(runs, tmp_path / "mean")
    single = [load_background(run) for run in runs]
    expected = np.concatenate([vectors[:4] for vectors in single])
    assert np.array_equal(load_background(tmp_path / "mean"), expected)


def test_runs_that_differ_in_more_are_refused(tmp_path, make_run, runs):
    other = make_run("other", model__template="{name} ({description})")
    with pytest.raises(NunerError, match="N318.*template") as caught:
        average_backbones([runs[0], other], tmp_path / "mean")
    assert "{name} ({description})" in str(caught.value)
    corpus = write_corpus(tmp_path / "less", SENTENCES[:4])
    other = make_run("less", paths__corpus=str(corpus))
    with pytest.raises(NunerError, match="N318.*corpus"):
        average_backbones([runs[0], other], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_an_average_is_no_run_that_was_finished(tmp_path, runs, corpus, bert):
    average_backbones(runs[:2], tmp_path / "mean")
    settings = read_info(runs[0]).settings
    assert find_finished(Config(settings), runs[0]) is not None
    assert find_finished(Config(settings), tmp_path / "mean") is None


def test_the_base_is_known_by_its_weights(tmp_path, make_run, runs, bert):
    elsewhere = shutil.copytree(bert, tmp_path / "elsewhere")
    same = make_run("elsewhere", paths__base=str(elsewhere))
    made = average_backbones([runs[0], same], tmp_path / "mean")
    average_backbones([tmp_path / "mean", runs[1]], tmp_path / "again")
    assert made.training["base_sha256"] == read_info(same).training["base_sha256"]
    model = AutoModel.from_pretrained(elsewhere)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[0] += 1
    model.save_pretrained(elsewhere)
    other = make_run("changed", paths__base=str(elsewhere))
    with pytest.raises(NunerError, match=r"N318.*base_sha256"):
        average_backbones([same, other], tmp_path / "other")


def test_weights_of_another_shape_are_refused(tmp_path, runs):
    """The name of the base is the same, what lay there was not."""
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    model = AutoModel.from_pretrained(other)
    model.resize_token_embeddings(1000)
    model.save_pretrained(other)
    with pytest.raises(NunerError, match=r"N318.*shape.*\[1000, 32\]"):
        average_backbones([runs[0], other], tmp_path / "mean")
    assert no_traces(tmp_path, "other")


def test_what_is_no_backbone_is_refused(tmp_path, runs, bert):
    with pytest.raises(NunerError, match=r"N304.*nuner\.json"):
        average_backbones([runs[0], bert], tmp_path / "mean")
    for folders in ([], runs[:1], [runs[0], runs[0]]):
        with pytest.raises(NunerError, match="N319"):
            average_backbones(folders, tmp_path / "mean")
    (tmp_path / "mean").mkdir()
    (tmp_path / "mean" / "thesis.txt").write_text("mine")
    with pytest.raises(NunerError, match="N004"):
        average_backbones(runs, tmp_path / "mean")
    assert (tmp_path / "mean" / "thesis.txt").exists()


def test_command(tmp_path, runs):
    arguments = ["average", *map(str, runs), str(tmp_path / "mean")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "the mean of 3 runs" in " ".join(result.output.split())
    assert shlex.join(arguments) in read_info(tmp_path / "mean").command
    result = CliRunner().invoke(app, ["average", str(runs[0]), str(tmp_path / "x")])
    assert result.exit_code == 1
    assert "N319" in result.output
