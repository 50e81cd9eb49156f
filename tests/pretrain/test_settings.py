import pytest

from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.settings import Settings, read_config, resolve_settings

from ..conftest import ROOT

SHIPPED = ROOT / "configs" / "pretrain.cfg"


def resolve(**overrides):
    overrides = {"paths.corpus": "corpus", **overrides}
    return resolve_settings(read_config(SHIPPED, overrides))


def test_shipped_config_lacks_only_the_corpus():
    assert isinstance(resolve(), Settings)
    with pytest.raises(NunerError, match=r"N301.*paths\.corpus"):
        resolve_settings(read_config(SHIPPED, {}))


def test_overrides_reach_the_settings():
    settings = resolve(**{"training.epochs": 3, "training.report_to": ["wandb"]})
    assert settings.training.epochs == 3
    assert settings.training.report_to == ["wandb"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.epochs", "many", "valid integer"),
        ("training.epochs", 0, "greater than or equal to 1"),
        ("training.epochs", 2.5, "valid integer"),
        ("training.learn_rate", -1, "greater than 0"),
        ("training.precision", "fp16", "'auto', 'bf16' or 'fp32'"),
        ("training.epoch", 3, "Extra inputs are not permitted"),
        ("model.pooling", "max", "'mean' or 'cls'"),
        ("model.frozen_layers", -1, "greater than or equal to 0"),
        ("model.template", "{name}", "both"),
        ("model.template", "{name} {description} {type}", "more than these"),
        ("model.template", "{name} {description", "more than these"),
        ("model.description_dropout", 1.5, "less than or equal to 1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(key, value, words):
    with pytest.raises(NunerError) as caught:
        resolve(**{key: value})
    message = str(caught.value)
    assert "N301" in message
    assert f"{key}: " in message
    assert words in message


def test_all_wrong_settings_are_told_at_once():
    with pytest.raises(NunerError, match=r"training\.epochs.*training\.seed"):
        resolve(**{"training.epochs": 0, "training.seed": "x"})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"objective.@misc": "spacy_nuner.Nothing.v1"}, r"spacy_nuner\.Nothing\.v1"),
        ({"objective.gamma": 2}, "gamma"),
        ({"optimizer.learn_rate": 2}, "optimizer"),
    ],
)
def test_wrong_functions_and_sections(overrides, words):
    with pytest.raises(NunerError, match=f"N301.*{words}"):
        resolve(**overrides)


def test_no_such_config(tmp_path):
    with pytest.raises(NunerError, match=r"N005.*gone\.cfg.*No such file"):
        read_config(tmp_path / "gone.cfg", {})


@pytest.mark.parametrize("text", ["no section", "[paths]\ncorpus = {", "[a\n", "\0"])
def test_broken_config(tmp_path, text):
    (tmp_path / "broken.cfg").write_text(text)
    with pytest.raises(NunerError, match="N301"):
        resolve_settings(read_config(tmp_path / "broken.cfg", {}))


def test_config_in_another_encoding(tmp_path):
    (tmp_path / "latin.cfg").write_bytes('[paths]\ncorpus = "é"'.encode("latin1"))
    with pytest.raises(NunerError, match="N301"):
        read_config(tmp_path / "latin.cfg", {})


def test_the_config_of_the_paper_resolves():
    path = ROOT / "configs" / "pretrain_paper.cfg"
    settings = resolve_settings(read_config(path, {"paths.corpus": "corpus"}))
    assert settings.paths.base == "roberta-base"
    assert settings.model.frozen_layers == 6
    assert settings.training.epochs == 10
    # It has every setting that the other one has.
    shipped, paper = (read_config(p, {"paths.corpus": "c"}) for p in (SHIPPED, path))
    assert {s: set(shipped[s]) for s in shipped} == {s: set(paper[s]) for s in paper}
