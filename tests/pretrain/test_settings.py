import subprocess
import sys

import pytest
from thinc.api import Config

from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.model import sigmoid_cross_entropy
from spacy_nuner.pretrain.settings import (
    SECTIONS,
    Settings,
    default_config,
    read_config,
    resolve_settings,
)

from ..conftest import ROOT

SHIPPED = ROOT / "configs" / "pretrain.cfg"
KNOWN = tuple(f"{section}." for section in SECTIONS)


def resolve(**overrides):
    overrides = {"paths.corpus": "corpus", **overrides}
    return resolve_settings(read_config(SHIPPED, overrides))


def test_shipped_config_lacks_only_the_corpus():
    assert isinstance(resolve(), Settings)
    with pytest.raises(NunerError, match=r"N301.*paths\.corpus"):
        resolve_settings(read_config(SHIPPED, {}))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("training.epoch", "Did you mean 'training.epochs'?"),
        ("trainin.epochs", "Did you mean 'training.epochs'?"),
        ("trainin.zzz", "Did you mean 'training'?"),
        ("paths.probe_dev", "Did you mean 'evaluation.probe_dev'?"),
        ("optimizer.learn_rate", "Did you mean 'training.learn_rate'?"),
        ("optimizer.beta1", "Known are: paths, features, model, objective"),
        ("training.zzz", "Known are: training.epochs, training.batch_size"),
        ("epochs", "Known are: paths"),
    ],
)
def test_unknown_names_are_refused_with_the_closest_known_one(tmp_path, key, words):
    with pytest.raises(NunerError) as caught:
        resolve(**{key: 3})
    assert caught.value.code == "N321"
    assert f"'{key if key.startswith(KNOWN) else key.partition('.')[0]}'" in str(
        caught.value
    )
    assert words in str(caught.value)
    section, _, name = key.partition(".")
    if name:
        (tmp_path / "odd.cfg").write_text(f"[{section}]\n{name} = 3\n")
        with pytest.raises(NunerError, match="N321"):
            read_config(tmp_path / "odd.cfg")


def test_a_config_may_hold_only_what_differs(tmp_path):
    path = tmp_path / "small.cfg"
    path.write_text('[training]\nepochs = 7\n\n[paths]\ncorpus = "c"\n')
    overrides = {"evaluation.every_steps": 5}
    assert read_config(path, overrides) == read_config(
        SHIPPED, {"paths.corpus": "c", "training.epochs": 7, **overrides}
    )
    # Also the function of another objective, without the arguments of the default one.
    path.write_text('[objective]\n@misc = "spacy_nuner.SigmoidCrossEntropy.v1"\n')
    config = read_config(path, {"paths.corpus": "c"})
    assert resolve_settings(config).objective is sigmoid_cross_entropy
    path.write_text("")
    assert read_config(path) == default_config()
    settings = resolve_settings({"paths": {"corpus": "c"}})
    assert settings.training.epochs == 3
    # A variable of the file itself.
    path.write_text("[training]\nsave_steps = ${training.log_steps}\n")
    assert read_config(path)["training"]["save_steps"] == 10


def test_the_shipped_config_says_the_defaults():
    assert read_config(SHIPPED) == default_config()
    # Each setting is written out, none comes from the code alone.
    written = Config().from_disk(SHIPPED)
    defaults = default_config()
    assert {s: {*written[s]} for s in written} == {s: {*defaults[s]} for s in defaults}


def test_objectives_are_found_by_entry_point_alone():
    code = (
        "import sys\n"
        "from spacy.util import registry\n"
        "import spacy_nuner.pretrain.settings\n"
        "assert 'spacy_nuner.pretrain.model' not in sys.modules\n"
        "registry.misc.get('spacy_nuner.SigmoidCrossEntropy.v1')()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
    ],
)
def test_wrong_functions_and_sections(overrides, words):
    with pytest.raises(NunerError, match=f"N301.*{words}"):
        resolve(**overrides)


def test_no_such_config(tmp_path):
    with pytest.raises(NunerError, match=r"N320.*gone\.cfg.*No such file"):
        read_config(tmp_path / "gone.cfg", {})


@pytest.mark.parametrize("text", ["no section", "[training]\nepochs = {", "[a\n", "\0"])
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


@pytest.mark.parametrize("name", ["pretrain_paper", "pretrain_multilingual"])
def test_shipped_configs_are_complete(name):
    path = ROOT / "configs" / f"{name}.cfg"
    shipped, other = Config().from_disk(SHIPPED), Config().from_disk(path)
    assert {s: set(shipped[s]) for s in shipped} == {s: set(other[s]) for s in other}
    resolve_settings(read_config(path, {"paths.corpus": "corpus"}))


@pytest.mark.parametrize(
    "text",
    [
        "[training.*.x]\n",
        '[paths]\ncorpus = "${paths.corpus}"\n',
        "[paths]\ncorpus = '${paths.corpus}'\n",
        "[objective]\n@misc = null\n",
        '[paths]\ncorpus = {"@misc": null}\n',
        '[paths]\ncorpus = {"@misc": "spacy_nuner.SigmoidCrossEntropy.v1"}\n',
    ],
)
def test_what_only_random_configs_had(tmp_path, text):
    """Each ended in an exception of confection, spaCy or Python, or called what a path
    named."""
    (tmp_path / "odd.cfg").write_text(text)
    with pytest.raises(NunerError, match="N301|N321"):
        resolve_settings(read_config(tmp_path / "odd.cfg", {}))
