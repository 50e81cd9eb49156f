import json
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from transformers import AutoModel

from spacy_nuner.encoders.folder import read_info
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.run import pretrain

from .conftest import SENTENCES, write_corpus


@pytest.fixture
def make_watched(tmp_path, bert, make_config):
    """Ten steps, and a look at every third."""
    copies = [(f"{text} {i}", mentions) for text, mentions in SENTENCES for i in "1234"]
    corpus = write_corpus(tmp_path / "corpus", copies)

    def make(**overrides):
        settings = {
            "training__epochs": 1,
            "watch__every_steps": 3,
            "watch__validation_share": 0,
            **overrides,
        }
        config = make_config(corpus, bert, **settings)
        if overrides.get("watch__keep_best"):
            # Named alone, since the probe itself is handed over.
            config["paths"].update(probe_train="train.conll", probe_dev="dev.conll")
        return config

    return make


class FakeProbe:
    """Gives values in turn, and remembers the weights that it was shown."""

    def __init__(self, *values):
        self.values = iter(values)
        self.shown = []

    def __call__(self, tokenizer, encoder, hidden_layers):
        assert not encoder.training
        assert tokenizer("Nara").input_ids
        assert hidden_layers == [-1, -3]
        # A probe that draws numbers must not change the run.
        weights = {k: v.clone() for k, v in encoder.state_dict().items()}
        self.shown.append(weights)
        return {"probe_token_f": next(self.values), "probe_ents_f": 0.25}


def read_metrics(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf8").splitlines()
    return [json.loads(line) for line in lines]


def looks_of(folder, key):
    return {row["step"]: row[key] for row in read_metrics(folder) if key in row}


def weights_of(folder):
    return (folder / "model.safetensors").read_bytes()


def test_numbers_and_figure(tmp_path, make_watched, capsys):
    out = tmp_path / "out"
    probe = FakeProbe(0.1, 0.2, 0.3, 0.4, 0.35)
    info = pretrain(make_watched(watch__validation_share=0.3), out, probe=probe)
    steps = info.training["steps"]
    expected = [0, 3, 6, steps]
    assert looks_of(out, "probe_token_f") == dict(
        zip(expected, [0.1, 0.2, 0.3, 0.4], strict=True)
    )
    precisions = looks_of(out, "average_precision")
    assert list(precisions) == expected
    assert all(0 < value < 1 for value in precisions.values())
    assert list(looks_of(out, "loss")) == list(range(1, steps + 1))
    assert info.training["kept_step"] == steps
    assert info.training["probe_token_f"] == 0.4
    assert info.training["probe_token_f_of_base"] == 0.1
    assert info.training["probe_ents_f"] == 0.25
    assert info.training["average_precision"] == round(precisions[steps], 4)
    assert info == read_info(out)
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(out / "curve.svg").getroot().tag.endswith("svg")
    told = capsys.readouterr().err
    assert "step 3: average precision" in told
    assert "probe's token F1 20.0, entity F1 25.0" in told
    assert "probe token f of base" in (out / "README.md").read_text(encoding="utf8")


def test_looks_change_nothing(tmp_path, make_watched):
    pretrain(make_watched(watch__every_steps=0), tmp_path / "without")
    pretrain(make_watched(), tmp_path / "with", probe=FakeProbe(*[0.5] * 5))
    assert weights_of(tmp_path / "without") == weights_of(tmp_path / "with")
    assert looks_of(tmp_path / "without", "loss") == looks_of(tmp_path / "with", "loss")
    assert not looks_of(tmp_path / "without", "probe_token_f")


def test_the_best_look_is_kept(tmp_path, make_watched):
    out = tmp_path / "out"
    probe = FakeProbe(0.1, 0.3, 0.5, 0.2, 0.4)
    info = pretrain(make_watched(watch__keep_best=True), out, probe=probe)
    assert info.training["kept_step"] == 6
    assert info.training["probe_token_f"] == 0.5
    kept = AutoModel.from_pretrained(out).state_dict()
    assert all(torch.equal(kept[k], v) for k, v in probe.shown[2].items())
    assert any(not torch.equal(kept[k], v) for k, v in probe.shown[4].items())
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def test_no_look_is_better_than_the_base(tmp_path, make_watched, caplog):
    probe = FakeProbe(0.6, 0.3, 0.5, 0.2, 0.4)
    info = pretrain(make_watched(watch__keep_best=True), tmp_path / "out", probe=probe)
    assert info.training["kept_step"] == 6
    assert "W304" in caplog.text
    assert "50.0" in caplog.text and "60.0" in caplog.text


def test_a_resumed_run_remembers(tmp_path, make_watched):
    settings = {"watch__keep_best": True, "training__save_steps": 2}
    config = make_watched(**settings)
    values = [0.1, 0.5, 0.3, 0.2, 0.4]
    whole = pretrain(config, tmp_path / "whole", probe=FakeProbe(*values))

    class Breaking(FakeProbe):
        def __call__(self, *args):
            if len(self.shown) == 3:
                raise KeyboardInterrupt
            return super().__call__(*args)

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "broken", probe=Breaking(*values))
    # The last checkpoint is of step 8, the break came in the look of step 9.
    again = FakeProbe(*values[3:])
    info = pretrain(config, tmp_path / "broken", resume=True, probe=again)
    assert info.training["kept_step"] == whole.training["kept_step"] == 3
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "broken")
    for key in ("probe_token_f", "loss"):
        assert looks_of(tmp_path / "whole", key) == looks_of(tmp_path / "broken", key)


def test_too_few_texts_to_hold_out(tmp_path, make_watched, caplog):
    config = make_watched(watch__validation_share=1e-6)
    info = pretrain(config, tmp_path / "out")
    assert "W305" in caplog.text
    assert info.training["steps"] > 0
    assert "average_precision" not in info.training


def test_without_matplotlib_the_backbone_stands(
    tmp_path, make_watched, monkeypatch, caplog
):
    modules = __import__("sys").modules
    monkeypatch.setitem(modules, "matplotlib", None)
    monkeypatch.delitem(modules, "spacy_nuner.plotting", raising=False)
    pretrain(make_watched(), tmp_path / "out")
    assert "W303" in caplog.text and "matplotlib" in caplog.text
    assert (tmp_path / "out" / "metrics.jsonl").exists()
    assert not (tmp_path / "out" / "curve.png").exists()


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"paths__probe_dev": "dev.conll"}, "probe_train and probe_dev go together"),
        ({"watch__validation_share": 1.0}, "watch.validation_share"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, make_watched, overrides, told):
    with pytest.raises(NunerError, match=f"N301.*{told}"):
        pretrain(make_watched(**overrides), tmp_path / "out")


def test_nothing_to_choose_the_best_by(tmp_path, corpus, bert, make_config):
    config = make_config(corpus, bert, watch__keep_best=True)
    with pytest.raises(NunerError, match="N301.*paths.probe_dev"):
        pretrain(config, tmp_path / "out")
