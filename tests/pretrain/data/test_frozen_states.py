import errno
import json

import numpy as np
import pytest
import torch
from transformers import AutoModel

from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain import run as work_module
from spacy_nuner.pretrain.data import frozen_states as states_module
from spacy_nuner.pretrain.data.batches import Collator
from spacy_nuner.pretrain.data.frozen_states import (
    KeptStates,
    TextsWithStates,
    concept_lengths,
    keep_states,
    run_bottom,
    states_size,
    text_lengths,
)
from spacy_nuner.pretrain.model import (
    ContrastiveModel,
    Similarity,
    sigmoid_cross_entropy,
)
from spacy_nuner.pretrain.run import pretrain


@pytest.fixture
def model(base, concept_encoder):
    return ContrastiveModel(
        load_encoder(base)[1],
        concept_encoder,
        Similarity(scale=1.5, bias=-2.0),
        sigmoid_cross_entropy,
        frozen_layers=1,
    ).eval()


def keep(features, model, folder, dtype="float32"):
    keep_states(features, folder, model, dtype=dtype, quiet=True)
    return KeptStates.from_folder(folder, features)


def make_batch(features, model, kept=None):
    collate = Collator(
        features.concepts,
        model.concept_encoder.tokenizer,
        description_dropout=0.5,
        concept_states=kept.concepts if kept else None,
    )
    texts = TextsWithStates(features, kept.texts) if kept else features.texts
    return collate([texts[i] for i in (3, 0, 4, 1)])


def learn(model, batch):
    model.zero_grad()
    loss = model(**batch)["loss"]
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), gradients


def test_states_are_those_of_each_row_alone(tmp_path, features, model, monkeypatch):
    # Several batches and several pools, with rows out of order in each.
    monkeypatch.setattr(states_module, "PIECES_AT_ONCE", 40)
    monkeypatch.setattr(states_module, "PIECES_A_POOL", 60)
    kept = keep(features, model, tmp_path / "states")
    rows = [
        (kept.texts, index, model.text_encoder, ids)
        for index, ids in enumerate(features.texts["input_ids"])
    ]
    for index, concept in enumerate(features.concepts):
        for form, key in enumerate(("name_ids", "described_ids")):
            encoder = model.concept_encoder.encoder
            rows.append((kept.concepts, 2 * index + form, encoder, concept[key]))
    for where, index, encoder, ids in rows:
        inputs = {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        }
        with torch.no_grad():
            expected = run_bottom(encoder, 1, inputs)[0]
        torch.testing.assert_close(where[[index]], expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(
        kept.texts[[2, 0]], torch.cat([kept.texts[[2]], kept.texts[[0]]])
    )


def test_loss_and_gradients_are_those_without(tmp_path, features, model):
    kept = keep(features, model, tmp_path / "states")
    batch = make_batch(features, model, kept)
    assert batch["text_states"].shape == (int(batch["attention_mask"].sum()), 32)
    assert batch["concept_states"].shape == (int(batch["concept_mask"].sum()), 32)
    loss, gradients = learn(model, batch)
    expected, expected_gradients = learn(model, make_batch(features, model))
    assert loss == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-3)


def test_bf16_differs_by_its_rounding_alone(tmp_path, features, model):
    kept = keep(features, model, tmp_path / "states", "bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        batch = make_batch(features, model, kept)
        assert batch["text_states"].dtype == torch.bfloat16
        loss, gradients = learn(model, batch)
        expected, expected_gradients = learn(model, make_batch(features, model))
    assert loss == pytest.approx(expected, rel=0.01)
    ours, theirs = (
        torch.cat([each[name].flatten() for name in sorted(each)])
        for each in (gradients, expected_gradients)
    )
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99


def test_size_is_known_before(tmp_path, features, model):
    for dtype in ("float32", "bfloat16"):
        folder = tmp_path / dtype
        keep(features, model, folder, dtype)
        written = sum(path.stat().st_size for path in folder.glob("*.bin"))
        assert written == states_size(features, model.width, dtype)
    pieces = np.concatenate([text_lengths(features), concept_lengths(features)])
    assert written == pieces.sum() * 32 * 2


def test_nothing_is_half_written(tmp_path, features, model, monkeypatch):
    calls = []

    def break_off(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return run_bottom(*args)

    monkeypatch.setattr(states_module, "run_bottom", break_off)
    with pytest.raises(NunerError, match="N003.*No space left"):
        keep(features, model, tmp_path / "states")
    assert [path.name for path in tmp_path.iterdir()] == ["features"]
    assert KeptStates.from_folder(tmp_path / "states", features) is None


def test_a_run_with_kept_states_ends_as_one_without(
    tmp_path, corpus, bert, make_config
):
    """Without dropout, in fp32: the same up to rounding."""
    plain = AutoModel.from_pretrained(
        bert, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    plain.save_pretrained(tmp_path / "base")
    load_encoder(bert)[0].save_pretrained(tmp_path / "base")
    weights = []
    for keep in (True, False):
        out = tmp_path / str(keep)
        config = make_config(
            corpus, tmp_path / "base", training__keep_frozen_states=keep
        )
        pretrain(config, out)
        weights.append(AutoModel.from_pretrained(out).state_dict())
    base = plain.state_dict()
    with_states, without = weights
    assert any(not torch.equal(with_states[key], base[key]) for key in base)
    # The bias of the keys has no gradient but rounding, which AdamW makes steps of.
    for key in (key for key in base if "key.bias" not in key):
        torch.testing.assert_close(with_states[key], without[key], atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize(
    ("wanted", "fits", "kept"),
    [("auto", True, True), ("auto", False, False), (True, False, True)],
)
def test_states_are_kept_where_they_fit_or_are_asked_for(
    tmp_path, corpus, bert, make_config, monkeypatch, wanted, fits, kept
):
    folders = []

    def note(features, folder, model, *, dtype):
        folders.append(dtype)
        keep_states(features, folder, model, dtype=dtype, quiet=True)

    monkeypatch.setattr(work_module, "keep_states", note)
    monkeypatch.setattr(work_module, "fit_on_disk", lambda size, place: fits)
    config = make_config(
        corpus,
        bert,
        training__keep_frozen_states=wanted,
        training__epochs=1,
        training__precision="bf16",
    )
    pretrain(config, tmp_path / "out")
    assert folders == ["bfloat16"] * kept


def test_what_can_not_be_kept(tmp_path, corpus, bert, make_config, monkeypatch):
    monkeypatch.setattr(ContrastiveModel, "can_keep_states", lambda *args: False)
    config = make_config(corpus, bert, training__keep_frozen_states=True)
    with pytest.raises(NunerError, match="N316.*BertModel"):
        pretrain(config, tmp_path / "out")
    config = make_config(corpus, bert, training__epochs=1)
    pretrain(config, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "nuner.json").read_text())
    assert facts["settings"]["training"]["keep_frozen_states"] == "auto"
