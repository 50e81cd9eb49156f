import errno
import json
import os
import re

import pytest
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    TrainerCallback,
)

from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.folder import read_info
from spacy_nuner.encoders.layers import encoder_layers
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain import run as run_module
from spacy_nuner.pretrain.run import build_model, pretrain
from spacy_nuner.pretrain.settings import read_config, resolve_settings
from spacy_nuner.pretrain.trainer import choose_learn_rate

from ..conftest import ROOT
from ..util import make_tiny_bert
from .conftest import SENTENCES, TEXTS, no_traces

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_backbone_of_any_base(tmp_path, corpus, base, make_config):
    """BERT and RoBERTa with byte-level BPE go the same way from corpus to folder."""
    out = tmp_path / "backbone"
    layers = len(encoder_layers(AutoModel.from_pretrained(base)))
    config = make_config(corpus, base, model__frozen_layers=layers // 2)
    info = pretrain(config, out, command="spacy nuner pretrain")
    assert no_traces(tmp_path, "backbone")
    assert read_info(out) == info
    assert info.data["sentences"] == len(SENTENCES)
    assert info.training["steps"] in (2 * 3, 2 * 4)
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


@pytest.mark.parametrize(("layers", "frozen"), [(1, 0), (2, 0), (4, 1), (6, 2)])
def test_a_third_is_frozen(tmp_path, corpus, make_config, layers, frozen):
    base = make_tiny_bert(tmp_path / "base", TEXTS, layers=layers)
    settings = resolve_settings(make_config(corpus, base))
    assert build_model(settings, on_cpu=True).frozen_layers == frozen


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
        training__batch_size=16,
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


def test_a_backbone_is_replaced_and_nothing_else(tmp_path, corpus, bert, make_config):
    config = make_config(corpus, bert, training__epochs=1)
    out = tmp_path / "out"
    pretrain(config, out)
    pretrain(config, out)
    (out / "notes.txt").write_text("precious")
    with pytest.raises(NunerError, match=r"N004.*notes\.txt"):
        pretrain(config, out)
    assert (out / "notes.txt").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(NunerError, match=r"N004.*thesis\.txt"):
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
        ({"paths.corpus": "./gone"}, "N105"),
        ({"model.frozen_layers": 5}, "N009"),
        ({"model.frozen_layers": 4}, "N317.*3 or less"),
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


@pytest.mark.parametrize(("visible", "gpu_id"), [("", 0), ("2", 1), ("2,5", 2)])
def test_gpus_that_are_hidden_stay_so(
    tmp_path, corpus, bert, make_config, monkeypatch, visible, gpu_id
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(NunerError, match="N310"):
        pretrain(make_config(corpus, bert), tmp_path / "out", gpu_id=gpu_id)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


@pytest.mark.parametrize(
    ("visible", "gpu_id", "chosen"), [(None, 1, "1"), ("2,5", 1, "5")]
)
def test_a_gpu_is_counted_among_those_that_are_visible(
    tmp_path, corpus, bert, make_config, monkeypatch, visible, gpu_id, chosen
):
    """The process is shown the one GPU; the environment is as it was when it ends."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    shown = []

    def is_available():
        shown.append(os.environ["CUDA_VISIBLE_DEVICES"])
        return False

    monkeypatch.setattr(torch.accelerator, "is_available", is_available)
    with pytest.raises(NunerError, match="N310"):
        pretrain(make_config(corpus, bert), tmp_path / "out", gpu_id=gpu_id)
    assert shown == [chosen]
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible


def test_a_disk_too_small_is_told_before_the_work(
    tmp_path, corpus, bert, make_config, monkeypatch
):
    usage = run_module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(run_module.shutil, "disk_usage", lambda _: usage)
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


def losses_of(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def test_bf16(tmp_path, corpus, bert, make_config):
    """It learns as fp32 does, and what is written is in fp32."""
    ends, scales = {}, {}
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        config = make_config(
            corpus,
            bert,
            training__precision=precision,
            training__epochs=40,
            training__batch_size=5,
            training__learn_rate=1e-2,
        )
        scales[precision] = pretrain(config, out).scale
        losses = losses_of(out)
        assert losses[-1] < 0.6 * losses[0]
        ends[precision] = losses[-1]
        weights = AutoModel.from_pretrained(out).state_dict().values()
        assert {w.dtype for w in weights if w.is_floating_point()} == {torch.float32}
    assert ends["bf16"] == pytest.approx(ends["fp32"], rel=0.1)
    # It was computed in bf16 indeed; the losses are rounded.
    assert scales["bf16"] != scales["fp32"]


def test_the_precision_of_one_run_is_not_that_of_the_next(
    tmp_path, corpus, bert, make_config, monkeypatch
):
    """Trainer leaves it in the environment, and takes it from there."""
    weights = []
    for found in ("no", "bf16"):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", found)
        config = make_config(corpus, bert, training__precision="fp32")
        pretrain(config, tmp_path / found)
        weights.append((tmp_path / found / "model.safetensors").read_bytes())
        assert os.environ["ACCELERATE_MIXED_PRECISION"] == found
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("layers", "width", "pieces", "rate"),
    [
        (6, 384, 30_522, 3e-4),
        # Most of a multilingual encoder is its embeddings.
        (12, 384, 250_002, 3e-4),
        (12, 768, 30_522, 2e-4),
        (24, 1024, 50_265, 2e-4),
    ],
)
def test_the_rate_follows_from_the_layers(layers, width, pieces, rate):
    config = BertConfig(
        vocab_size=pieces,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
    )
    with torch.device("meta"):
        assert choose_learn_rate(BertModel(config)) == rate


@pytest.mark.parametrize(("given", "rate"), [(None, 3e-4), (2e-5, 2e-5)])
def test_the_rate_is_that_of_the_config_or_of_the_encoder(
    tmp_path, corpus, bert, make_config, given, rate
):
    config = make_config(corpus, bert, training__learn_rate=given, training__warmup=0.3)
    info = pretrain(config, tmp_path / "out")
    assert info.settings["training"]["learn_rate"] == rate
    rows = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(row)["learning_rate"] for row in rows) == rate
    assert f"| learn rate | {rate:g} |" in (tmp_path / "out" / "README.md").read_text()


def test_a_step_that_does_not_fit_is_an_error_with_advice(
    tmp_path, corpus, bert, make_config, monkeypatch
):
    def fill_up(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr(run_module.PretrainTrainer, "training_step", fill_up)
    with pytest.raises(
        NunerError, match="N700.* 2 texts.*out of memory. Halve"
    ) as caught:
        pretrain(make_config(corpus, bert), tmp_path / "out")
    assert "training.accumulate_gradient" in str(caught.value)


def test_settings_are_kept(tmp_path, corpus, bert, make_config):
    config = make_config(corpus, bert, training__epochs=1)
    pretrain(config, tmp_path / "out", command="the command")
    info = json.loads((tmp_path / "out" / "nuner.json").read_text())
    assert info["settings"]["training"]["epochs"] == 1
    assert info["command"] == "the command"
    assert set(info["versions"]) >= {"spacy_nuner", "torch", "transformers"}


class CountSteps(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, **kwargs):
        self.steps.append(state.global_step)


def test_callbacks_are_told_of_each_step(tmp_path, corpus, bert, make_config):
    counted = CountSteps()
    config = make_config(corpus, bert, training__epochs=1)
    info = pretrain(config, tmp_path / "out", callbacks=[counted])
    assert counted.steps == list(range(1, info.training["steps"] + 1))


def test_the_config_of_the_paper_learns(tmp_path, corpus, roberta):
    """With a small encoder of the same making in the place of roberta-base."""
    overrides = {
        "paths.corpus": str(corpus),
        "paths.base": str(roberta),
        "features.max_length": 48,
        "model.frozen_layers": 1,
        "training.epochs": 40,
        "training.learn_rate": 3e-3,
        "training.log_steps": 1,
    }
    config = read_config(ROOT / "configs" / "pretrain_paper.cfg", overrides)
    info = pretrain(config, tmp_path / "out")
    losses = losses_of(tmp_path / "out")
    assert losses[-1] < 0.6 * losses[0]
    assert info.training["final_loss"] == pytest.approx(losses[-1], abs=1e-4)


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
