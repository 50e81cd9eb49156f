import errno
import json
import math
import re

import pytest
import torch
from spacy.util import registry
from transformers import AutoModel, AutoTokenizer, TrainerCallback

from spacy_nuner.encoder import encoder_layers
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain import checkpoints, training
from spacy_nuner.pretrain.backbone import read_info
from spacy_nuner.pretrain.encoders import ConceptEncoder
from spacy_nuner.pretrain.objective import sigmoid_cross_entropy
from spacy_nuner.pretrain.settings import read_config
from spacy_nuner.pretrain.training import pretrain

from ..conftest import ROOT
from .conftest import SENTENCES

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def break_off():
    """Register an objective that breaks the run after some steps."""
    plan = {"steps": math.inf, "error": None}

    @registry.misc("test.BreakingObjective.v1")
    def make_objective():
        def objective(logits, targets):
            plan["steps"] -= 1
            if plan["steps"] < 0:
                if plan["error"] is None:
                    return sigmoid_cross_entropy(logits, targets) * math.nan
                raise plan["error"]
            return sigmoid_cross_entropy(logits, targets)

        return objective

    return plan


def no_traces(folder, *expected):
    return sorted(path.name for path in folder.iterdir()) == sorted(expected)


def test_backbone_of_any_base(tmp_path, corpus, base, make_config):
    """BERT and RoBERTa with byte-level BPE go the same way from corpus to folder."""
    out = tmp_path / "backbone"
    info = pretrain(make_config(corpus, base), out, command="spacy nuner pretrain")
    assert no_traces(tmp_path, "backbone")
    assert read_info(out) == info
    assert info.data["sentences"] == len(SENTENCES)
    assert info.training["steps"] in (2 * 3, 2 * 4)
    layers = len(encoder_layers(AutoModel.from_pretrained(base)))
    assert info.frozen_layers == layers // 2
    assert info.hidden_layers == [-1, -1 - layers // 2]
    before, after, concepts = (
        AutoModel.from_pretrained(folder)
        for folder in (base, out, out / "concept_encoder")
    )
    for trained in (after, concepts):
        for name, old in before.named_parameters():
            new = dict(trained.named_parameters())[name]
            in_top = any(
                new is parameter
                for layer in encoder_layers(trained)[layers // 2 :]
                for parameter in layer.parameters()
            )
            # Bit-equal where frozen. The keys' bias has no effect on attention, so
            # its gradient is rounding alone.
            assert torch.equal(old, new) != in_top or "key.bias" in name, name
    text = SENTENCES[1][0]
    old, new = (AutoTokenizer.from_pretrained(folder) for folder in (base, out))
    assert old(text) == new(text)
    assert "(3)" in (out / "README.md").read_text(encoding="utf8")


def test_concept_encoder_of_a_backbone(tmp_path, corpus, bert, make_config):
    out = tmp_path / "backbone"
    info = pretrain(make_config(corpus, bert), out)
    encoder = ConceptEncoder.from_folder(out)
    assert not encoder.training
    vectors = encoder.encode(["city", "hormone"], [None, "Messengers of the body"])
    assert vectors.shape == (2, 32)
    assert encoder.template == info.template


def test_five_docs_are_learned(tmp_path, corpus, base, make_config):
    out = tmp_path / "backbone"
    # All docs in one batch: concepts that never meet learn nothing of each other.
    config = make_config(
        corpus,
        base,
        model__frozen_layers=0,
        model__description_dropout=1,
        training__epochs=60,
        training__batch_pieces=500,
        training__learn_rate=1e-2,
    )
    pretrain(config, out)
    # Does the product of both encoders find the mentions again?
    info = read_info(out)
    model, tokenizer = (
        AutoModel.from_pretrained(out).eval(),
        AutoTokenizer.from_pretrained(out),
    )
    concepts = ["year", "film", "disease"]
    weights = torch.tensor(ConceptEncoder.from_folder(out).encode(concepts))
    found = {concept: "" for concept in concepts}
    for text, _ in SENTENCES:
        inputs = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
        offsets = inputs.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0]
        logits = info.scale * hidden @ weights.T / 32**0.5 + info.bias
        for (start, end), row in zip(offsets[1:-1], logits[1:-1], strict=True):
            for concept, logit in zip(concepts, row, strict=True):
                found[concept] += text[start:end] if logit > 0 else ""
    assert {key: value.strip() for key, value in found.items()} == {
        "year": "1939",
        "film": "Rashomon",
        "disease": "diabetes",
    }


def test_same_seed_same_weights(tmp_path, corpus, bert, make_config):
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pretrain(make_config(corpus, bert, training__seed=seed), tmp_path / name)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_resumed_run_ends_with_the_same_weights(
    tmp_path, corpus, bert, make_config, break_off
):
    config = make_config(
        corpus,
        bert,
        **{"objective.@misc": "test.BreakingObjective.v1"},
        training__epochs=4,
        training__save_steps=2,
    )
    break_off.update(steps=math.inf)
    pretrain(config, tmp_path / "whole")
    # The 8th of 12 steps is in the third epoch; the last checkpoint is of step 6.
    break_off.update(steps=7, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "broken")
    assert no_traces(tmp_path, "whole", "broken.work")
    break_off.update(steps=math.inf)
    with pytest.raises(NunerError, match="N311.*--resume"):
        pretrain(config, tmp_path / "broken")
    other = make_config(corpus, bert, training__epochs=9, training__save_steps=2)
    with pytest.raises(NunerError, match=r"N312.*objective\.@misc, training\.epochs"):
        pretrain(other, tmp_path / "broken", resume=True)
    info = pretrain(config, tmp_path / "broken", resume=True)
    assert info.training["steps"] == 12
    assert no_traces(tmp_path, "whole", "broken")
    for part in ("model.safetensors", "concept_encoder/model.safetensors"):
        whole = (tmp_path / "whole" / part).read_bytes()
        assert (tmp_path / "broken" / part).read_bytes() == whole
    assert read_info(tmp_path / "whole").scale == info.scale


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"),
        KeyboardInterrupt(),
    ],
)
def test_a_checkpoint_that_can_not_be_written_leaves_the_one_before(
    tmp_path, corpus, bert, make_config, monkeypatch, error, caplog
):
    config = make_config(corpus, bert, training__epochs=2, training__save_steps=2)
    pretrain(config, tmp_path / "whole")
    save, place = torch.save, tmp_path / "out.work" / "checkpoints"

    def fill_up(content, path, *args, **kwargs):
        save(content, path, *args, **kwargs)
        # Part of the second checkpoint stands by then.
        if "checkpoint-4/optimizer" in str(path):
            raise error

    monkeypatch.setattr(torch, "save", fill_up)
    expected, told = NunerError, "N314.* step 4"
    if isinstance(error, KeyboardInterrupt):
        expected, told = KeyboardInterrupt, None
    with pytest.raises(expected, match=told):
        pretrain(config, tmp_path / "out", command="spacy nuner pretrain a b")
    assert "W302" in caplog.text
    assert "Go on with: spacy nuner pretrain a b --resume" in caplog.text
    assert [path.name for path in place.glob("checkpoint-*")] == ["checkpoint-2"]
    monkeypatch.setattr(torch, "save", save)
    pretrain(config, tmp_path / "out", resume=True)
    weights = [
        (tmp_path / o / "model.safetensors").read_bytes() for o in ("whole", "out")
    ]
    assert weights[0] == weights[1]


def test_a_checkpoint_of_broken_weights_is_not_written(
    tmp_path, corpus, bert, make_config, caplog
):
    """A gradient can be broken where the loss is not."""

    class BreakWeights(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 3:
                model.similarity.scale.data.fill_(math.nan)

    config = make_config(corpus, bert, training__save_steps=3)
    with pytest.raises(NunerError, match="N309.* step 3"):
        pretrain(config, tmp_path / "out", callbacks=[BreakWeights()])
    assert not list((tmp_path / "out.work").glob("checkpoints/checkpoint-*"))
    assert "W302" not in caplog.text


def test_checkpoints_by_minutes(tmp_path, corpus, bert, make_config, monkeypatch):
    class KeepSaved(TrainerCallback):
        def __init__(self):
            self.steps = []

        def on_save(self, args, state, control, **kwargs):
            self.steps.append(state.global_step)

    class Clock:
        """Half a minute from one look at it to the next."""

        now = 0

        def monotonic(self):
            self.now += 30
            return self.now

    monkeypatch.setattr(checkpoints, "time", Clock())
    kept = KeepSaved()
    config = make_config(corpus, bert, training__save_minutes=1)
    pretrain(config, tmp_path / "out", callbacks=[kept])
    assert kept.steps[:2] == [2, 4]
    config = make_config(corpus, bert, training__save_minutes=0)
    none = KeepSaved()
    pretrain(config, tmp_path / "out", callbacks=[none])
    assert none.steps == []


def test_what_changes_no_weights_may_change_at_resume(
    tmp_path, corpus, bert, make_config, break_off
):
    settings = {
        "objective.@misc": "test.BreakingObjective.v1",
        "training.save_steps": 2,
    }
    break_off.update(steps=3, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(corpus, bert, **settings), tmp_path / "out")
    break_off.update(steps=math.inf)
    settings |= {"training.save_steps": 3, "training.save_minutes": 0}
    other = make_config(corpus, bert, **settings, training__precision="bf16")
    pretrain(other, tmp_path / "out", resume=True)


def test_nothing_to_resume(tmp_path, corpus, bert, make_config):
    with pytest.raises(NunerError, match="N308"):
        pretrain(make_config(corpus, bert), tmp_path / "out", resume=True)
    assert no_traces(tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path, corpus, bert, make_config, break_off
):
    config = make_config(
        corpus, bert, **{"objective.@misc": "test.BreakingObjective.v1"}
    )
    break_off.update(steps=2, error=None)
    with pytest.raises(NunerError, match="N309.*step 3.*learn_rate"):
        pretrain(config, tmp_path / "out")
    # The features, which the next start has no need to make again.
    assert no_traces(tmp_path, "out.work")


def test_a_backbone_is_replaced_and_nothing_else(tmp_path, corpus, bert, make_config):
    config = make_config(corpus, bert, training__epochs=1)
    out = tmp_path / "out"
    pretrain(config, out)
    (out / "extra.txt").write_text("of the first run")
    pretrain(config, out)
    assert not (out / "extra.txt").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(NunerError, match=r"N004.*nuner\.json"):
        pretrain(config, foreign)
    work = tmp_path / "third.work"
    work.mkdir()
    (work / "thesis.txt").write_text("precious")
    with pytest.raises(NunerError, match=r"N004.*third\.work"):
        pretrain(config, tmp_path / "third")
    assert (work / "thesis.txt").exists()
    assert (foreign / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ({"paths.base": "./gone"}, "N001"),
        ({"paths.base": "package:gone/model"}, "N001"),
        ({"paths.corpus": "./gone"}, "N305"),
        ({"model.frozen_layers": 5}, "N009"),
        ({"features.max_length": 65}, "N307"),
        ({"features.max_concept_length": 65}, "N307"),
    ],
)
def test_what_can_not_work_is_told_at_once(
    tmp_path, corpus, bert, make_config, overrides, code
):
    with pytest.raises(NunerError, match=code):
        pretrain(make_config(corpus, bert, **overrides), tmp_path / "out")
    assert no_traces(tmp_path)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_no_gpu(tmp_path, corpus, bert, make_config, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(NunerError, match="N310"):
        pretrain(make_config(corpus, bert), tmp_path / "out", gpu_id=0)


def test_a_disk_too_small_is_told_before_the_work(
    tmp_path, corpus, bert, make_config, monkeypatch
):
    usage = training.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(training.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NunerError, match="N003.*are needed"):
        pretrain(make_config(corpus, bert), tmp_path / "out")
    assert no_traces(tmp_path)


def test_a_disk_that_fills_up_leaves_no_backbone(
    tmp_path, corpus, bert, make_config, monkeypatch
):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(NunerError, match="N003.*No space left"):
        pretrain(make_config(corpus, bert, training__epochs=1), tmp_path / "out")
    assert no_traces(tmp_path, "out.work")


def test_output_below_a_file(tmp_path, corpus, bert, make_config):
    (tmp_path / "file").write_text("")
    with pytest.raises(NunerError, match="N003"):
        pretrain(make_config(corpus, bert), tmp_path / "file" / "out")


def test_bf16(tmp_path, corpus, bert, make_config):
    config = make_config(corpus, bert, training__precision="bf16")
    info = pretrain(config, tmp_path / "out")
    assert math.isfinite(info.training["final_loss"])
    weights = AutoModel.from_pretrained(tmp_path / "out").state_dict()
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {
        torch.float32
    }


def test_settings_are_kept(tmp_path, corpus, bert, make_config):
    config = make_config(corpus, bert, training__epochs=1)
    pretrain(config, tmp_path / "out", command="the command")
    facts = json.loads((tmp_path / "out" / "nuner.json").read_text())
    assert facts["settings"]["training"]["epochs"] == 1
    assert facts["command"] == "the command"
    assert set(facts["versions"]) >= {"spacy_nuner", "torch", "transformers"}


class CountSteps(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, **kwargs):
        self.steps.append(state.global_step)


def test_callbacks_are_told_of_each_step(tmp_path, corpus, bert, make_config):
    told = CountSteps()
    config = make_config(corpus, bert, training__epochs=1)
    info = pretrain(config, tmp_path / "out", callbacks=[told])
    assert told.steps == list(range(1, info.training["steps"] + 1))


def test_the_config_of_the_paper_runs(tmp_path, corpus, roberta):
    """With a small encoder of the same making in the place of roberta-base."""
    overrides = {
        "paths.corpus": str(corpus),
        "paths.base": str(roberta),
        "features.max_length": 48,
        "model.frozen_layers": 1,
        "training.epochs": 1,
    }
    config = read_config(ROOT / "configs" / "pretrain_paper.cfg", overrides)
    info = pretrain(config, tmp_path / "out")
    assert math.isfinite(info.training["final_loss"])
    assert info.pooling == "cls"


def test_gradients_that_are_added_up_are_divided(
    tmp_path, corpus, bert, make_config, capfd
):
    found = []
    for count in (1, 2):
        config = make_config(
            corpus, bert, model__dropout=0.0, training__accumulate_gradient=count
        )
        pretrain(config, tmp_path / str(count))
        lines = capfd.readouterr().err
        found.append([float(x) for x in re.findall(r"step .*: loss ([0-9.]+)", lines)])
    alone, together = found
    # The rate of the first step is 0.
    assert together[0] == pytest.approx(sum(alone[:2]) / 2, abs=2e-4)
