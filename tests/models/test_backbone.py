import logging
import pickle
import shutil

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Adam
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertModel,
    PreTrainedTokenizerFast,
)

from spacy_nuner.errors import NunerError
from spacy_nuner.models import precision
from spacy_nuner.models.backbone import get_shim

from .conftest import TEXTS


def make_backbone(name, *, precision="fp32", **settings):
    make = registry.architectures.get("spacy_nuner.Backbone.v1")
    model = make(name=name, precision=precision, **settings)
    model.initialize()
    return model


def weights_of(model):
    return {
        name: weight.detach().clone()
        for name, weight in get_shim(model).encoder.named_parameters()
    }


def take_step(model, docs, sgd):
    batch, backprop = model.begin_update(docs)
    rng = np.random.default_rng(0)
    gradients = [
        [rng.normal(size=data.model_output.last_hidden_state.shape).astype("f")]
        for data in batch.doc_data
        if data.align.lengths.size
    ]
    if gradients:
        backprop(batch.unsplit_by_doc(gradients))
    model.finish_update(sgd)


def test_vectors_are_those_of_transformers(nlp, tiny):
    model = make_backbone(tiny, hidden_layers=[-1, -3], by_sentence=False)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    encoder = AutoModel.from_pretrained(tiny).eval()
    docs = [nlp(text) for text in TEXTS]
    batch = model.predict(docs)
    assert model.get_dim("nO") == 32
    for doc, data in zip(docs, batch.doc_data, strict=True):
        with torch.no_grad():
            states = encoder(
                **tokenizer(doc.text, return_tensors="pt"), output_hidden_states=True
            ).hidden_states
        expected = torch.cat([states[-1], states[-3]], dim=-1)[0, 1:-1].numpy()
        found = data.model_output.last_hidden_state[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def drop_nothing(model):
    for layer in get_shim(model).encoder.modules():
        for name in ("p", "dropout_prob"):
            if hasattr(layer, name):
                setattr(layer, name, 0.0)


def test_a_sentence_has_the_vectors_that_it_has_alone(nlp, tiny):
    """Whatever stands around it, in prediction and in training."""
    model = make_backbone(tiny)
    drop_nothing(model)
    parts = ["Bright two-bed.", "naïve café !", "don't", "£1,650 pcm. "]
    alone = [
        data.model_output.last_hidden_state[0]
        for data in model.predict([nlp(part) for part in parts]).doc_data
    ]
    docs = [nlp("\n".join(parts)), nlp("\n\n".join(parts[:2]) + " Unbelievably. ")]
    expected = [np.concatenate(alone), np.concatenate(alone[:2])]
    for batch in (model.predict(docs), model.begin_update(docs)[0]):
        for data, vectors in zip(batch.doc_data, expected, strict=True):
            found = data.model_output.last_hidden_state[0]
            np.testing.assert_allclose(found[: len(vectors)], vectors, atol=1e-5)


def test_frozen_vectors_are_cached_by_sentences_too(nlp, tiny):
    """The same word pieces are other vectors where sentences end elsewhere."""
    model = make_backbone(tiny, freeze_layers=-1)
    words = ["Bright", "two-bed", "on", "Alder", "Street"]
    docs = [
        Doc(nlp.vocab, words=words, sent_starts=[True, False, i, False, False])
        for i in (True, False)
    ]
    expected = [
        data.model_output.last_hidden_state for data in model.predict(docs).doc_data
    ]
    assert not np.allclose(*expected)
    for doc, vectors in zip(docs, expected, strict=True):
        batch, _ = model.begin_update([doc])
        found = batch.doc_data[0].model_output.last_hidden_state
        np.testing.assert_allclose(found, vectors, atol=1e-5)


@pytest.mark.parametrize("text", ["\n", "\n\n \n", "one\n\n\n two .\n", ". . .\n.\n!"])
def test_empty_lines_have_vectors_and_gradients(nlp, tiny, text):
    model = make_backbone(tiny)
    doc = nlp(text)
    data = model.predict([doc]).doc_data[0]
    assert len(data.align.lengths) == len(doc)
    take_step(model, [doc], Adam(0.001))


def test_gradient_of_windows_is_that_of_what_is_kept_of_each(nlp, tiny):
    """Sentences longer than a window, shorter ones, and one long token."""
    model = make_backbone(tiny, window=10)
    doc = nlp(
        "on Street don't " * 9 + ".\nBright two-bed.\n" + "antidisestablishment" * 5
    )
    drop_nothing(model)
    shim = get_shim(model)
    batch, backprop = model.begin_update([doc])
    vectors = batch.doc_data[0].model_output.last_hidden_state
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=vectors.shape).astype("f")
    backprop(batch.unsplit_by_doc([[gradient]]))
    weight = shim.encoder.encoder.layer[3].output.dense.weight
    found = weight.grad.clone()
    # The finite difference along that gradient.
    step = 1e-3 * found / found.norm()
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step
        output = model.predict([doc]).doc_data[0].model_output.last_hidden_state
        losses.append(float((output * gradient).sum()))
        with torch.no_grad():
            weight -= sign * step
    slope = (losses[0] - losses[1]) / 2e-3
    assert slope == pytest.approx(float(found.norm()), rel=0.02)


def test_passes_that_are_computed_again_have_the_same_gradient(nlp, tiny, monkeypatch):
    docs, found, calls = [nlp(text) for text in TEXTS], [], []
    for most in (10_000, 8):
        monkeypatch.setattr(precision, "MOST_KEPT", most)
        model = make_backbone(tiny, max_batch_pieces=40)
        drop_nothing(model)
        encoder, count = get_shim(model).encoder, []
        encoder.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        before = weights_of(model)
        take_step(model, docs, Adam(1e-3))
        changes = {key: value - before[key] for key, value in weights_of(model).items()}
        found.append(changes)
        calls.append(len(count))
    assert calls[0] > 1 and calls[1] == 2 * calls[0]
    for key, change in found[0].items():
        torch.testing.assert_close(found[1][key], change, atol=1e-4, rtol=1e-2)


def test_long_text_has_a_vector_for_every_token(nlp, tiny):
    model = make_backbone(tiny, window=32)
    doc = nlp(" ".join(f"word{i % 97}" for i in range(3000)))
    data = model.predict([doc]).doc_data[0]
    assert len(data.align.lengths) == len(doc) >= 3000
    assert data.align.lengths.min() >= 1
    vectors = data.model_output.last_hidden_state[0]
    assert len(vectors) == data.wordpieces.lengths[0]
    assert np.abs(vectors).sum(axis=1).min() > 0
    # A piece in the middle of a window is encoded as it is with that context alone.
    window = Doc(nlp.vocab, words=[t.text for t in doc[:8]])
    alone = model.predict([window]).doc_data[0].model_output.last_hidden_state[0]
    assert not np.allclose(vectors[: len(alone)], alone)


def test_order_of_docs_does_not_matter(nlp, tiny):
    model = make_backbone(tiny, max_batch_pieces=64)
    docs = [nlp(text) for text in TEXTS * 3]
    together = [d.model_output.last_hidden_state for d in model.predict(docs).doc_data]
    for doc, vectors in zip(docs, together, strict=True):
        alone = model.predict([doc]).doc_data[0].model_output.last_hidden_state
        np.testing.assert_allclose(vectors, alone, atol=1e-5)


def test_empty_and_blank_docs(nlp, tiny):
    model = make_backbone(tiny)
    docs = [nlp(""), nlp("  \n"), nlp("a bed"), nlp("")]
    batch = model.predict(docs)
    assert [len(data.align.lengths) for data in batch.doc_data] == [0, 1, 2, 0]
    take_step(model, docs, Adam(0.001))


def test_frozen_weights_stay_bit_equal(nlp, tiny):
    model = make_backbone(tiny, freeze_layers=2)
    docs = [nlp(text) for text in TEXTS]
    before = weights_of(model)
    sgd = Adam(0.01, L2=0.1, L2_is_weight_decay=True)
    for _ in range(3):
        take_step(model, docs, sgd)
    after = weights_of(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {
        name
        for name in before
        if "embeddings" in name or ".layer.0." in name or ".layer.1." in name
    }
    assert not changed & frozen
    assert {n for n in before if ".layer.2." in n or ".layer.3." in n} <= changed


def test_frozen_layers_have_no_dropout_and_no_graph(nlp, tiny):
    model = make_backbone(tiny, freeze_layers=4)
    # Backpropagation has nothing to do, and says nothing.
    take_step(model, [nlp(TEXTS[0])], Adam(0.01))
    docs = [nlp(TEXTS[0])]
    first, _ = model.begin_update(docs)
    second, _ = model.begin_update(docs)
    np.testing.assert_array_equal(
        first.doc_data[0].model_output.last_hidden_state,
        second.doc_data[0].model_output.last_hidden_state,
    )
    assert not first.model_output.last_hidden_state.requires_grad


def test_wholly_frozen_backbone_learns_nothing(nlp, tiny):
    model = make_backbone(tiny, freeze_layers=-1)
    before = weights_of(model)
    take_step(model, [nlp(TEXTS[0])], Adam(0.01))
    after = weights_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_freezing_survives_saving(nlp, tiny):
    model = make_backbone(tiny, freeze_layers=3)
    saved = model.to_bytes()
    again = registry.architectures.get("spacy_nuner.Backbone.v1")(
        name="nowhere/at-all", freeze_layers=3
    ).from_bytes(saved)
    before = weights_of(again)
    assert all(
        torch.equal(weight, before[name]) for name, weight in weights_of(model).items()
    )
    take_step(again, [nlp(TEXTS[0])], Adam(0.01))
    after = weights_of(again)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".layer.3." in name for name in changed)


@pytest.mark.parametrize("scale", [0.1, [0.1, 0.2, 0.4, 1.0]])
def test_first_step_has_the_size_of_rate_times_scale(nlp, tiny, scale):
    model = make_backbone(tiny, learn_rate_scale=scale)
    before = weights_of(model)
    rate = 0.001
    # The first step of Adam is the rate wherever there is a gradient.
    take_step(model, [nlp(text) for text in TEXTS], Adam(rate, L2=0.0, grad_clip=0.0))
    after = weights_of(model)
    scales = [scale] * 4 if isinstance(scale, float) else scale
    for layer, expected in enumerate(scales):
        name = f"encoder.layer.{layer}.output.dense.weight"
        step = (after[name] - before[name]).abs().median().item()
        assert step == pytest.approx(rate * expected, rel=0.05)
    # Embeddings are frozen even where no layer is.
    assert all(
        torch.equal(before[name], after[name])
        for name in before
        if "embeddings" in name
    )


@pytest.mark.parametrize(
    "code,settings",
    [
        ("N009", {"freeze_layers": 5}),
        ("N401", {"hidden_layers": [-6]}),
        ("N401", {"hidden_layers": [0]}),
        ("N401", {"hidden_layers": [-1, -6]}),
        ("N401", {"hidden_layers": [-2, -1]}),
        ("N402", {"learn_rate_scale": [1.0, 1.0]}),
        ("N404", {"window": 2}),
        ("N404", {"window": 65}),
    ],
)
def test_settings_that_cannot_be(tiny, code, settings):
    with pytest.raises(NunerError, match=code):
        make_backbone(tiny, **settings)


def test_missing_encoder_names_the_three_forms(tmp_path):
    for name in (str(tmp_path / "none"), "package:no_such_package/model"):
        with pytest.raises(NunerError, match="N001.*folder.*hub.*package:.*default"):
            make_backbone(name)
    with pytest.raises(NunerError, match="N002"):
        make_backbone(str(tmp_path))


def test_damaged_weights(tiny):
    import srsly

    model = make_backbone(tiny)
    msg = srsly.msgpack_loads(get_shim(model).to_bytes())
    from safetensors.torch import load, save

    weights = load(msg["weights"])
    del weights["encoder.layer.0.output.dense.weight"]
    msg["weights"] = save(weights)
    with pytest.raises(NunerError, match="N403"):
        get_shim(model).from_bytes(srsly.msgpack_dumps(msg))


def test_frozen_weights_are_counted_in_the_log(tiny, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("spacy"), "propagate", True)
    with caplog.at_level("INFO", logger="spacy"):
        make_backbone(tiny, freeze_layers=2)
    encoder = AutoModel.from_pretrained(tiny)
    total = sum(weight.numel() for weight in encoder.parameters())
    frozen = sum(
        weight.numel()
        for name, weight in encoder.named_parameters()
        if "embeddings" in name or ".layer.0." in name or ".layer.1." in name
    )
    assert f"{frozen} of {total} weights are frozen" in caplog.text


def test_stock_component_and_stock_listener_take_it(tiny):
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "transformer",
        config={"model": {"@architectures": "spacy_nuner.Backbone.v1", "name": tiny}},
    )
    ner = nlp.add_pipe(
        "ner",
        config={
            "model": {
                "tok2vec": {
                    "@architectures": "spacy-transformers.TransformerListener.v1",
                    "pooling": {"@layers": "reduce_mean.v1"},
                    "grad_factor": 1.0,
                }
            }
        },
    )
    ner.add_label("AREA")
    nlp.initialize()
    doc = nlp(TEXTS[1])
    assert doc._.trf_data.width == 32
    assert [len(d) for d in nlp.pipe(["", " ", "a bed"])] == [0, 1, 2]


def test_layers_that_a_backbone_recommends(tiny):
    model = make_backbone(tiny)
    # A base encoder has no recommendation: the last layer and the one at half depth.
    assert get_shim(model).hidden_layers == [-1, -3]
    again = registry.architectures.get("spacy_nuner.Backbone.v1")(name="nowhere")
    assert get_shim(again.from_bytes(model.to_bytes())).hidden_layers == [-1, -3]


def test_backbone_of_a_newer_format_is_refused(tiny, tmp_path):
    import json

    shutil.copytree(tiny, tmp_path / "newer")
    (tmp_path / "newer" / "nuner.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(NunerError, match="N302"):
        make_backbone(str(tmp_path / "newer"))


def test_nothing_moves_without_a_gradient(nlp, tiny):
    model = make_backbone(tiny)
    sgd = Adam(0.01, L2=0.1, L2_is_weight_decay=True)
    take_step(model, [nlp(TEXTS[0])], sgd)
    before = weights_of(model)
    model.finish_update(sgd)
    batch, backprop = model.begin_update([nlp(TEXTS[0])])
    zeros = np.zeros_like(batch.doc_data[0].model_output.last_hidden_state)
    backprop(batch.unsplit_by_doc([[zeros]]))
    model.finish_update(sgd)
    after = weights_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_frozen_half_of_deberta_needs_no_gradient():
    from transformers import DebertaV2Config, DebertaV2Model

    from spacy_nuner.encoders.layers import freeze

    config = DebertaV2Config(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
    )
    model = DebertaV2Model(config)
    freeze(model, 2)
    states = model(torch.arange(5)[None], output_hidden_states=True).hidden_states
    assert [state.requires_grad for state in states] == [False] * 3 + [True] * 2


def test_unknown_architecture_and_missing_tokenizer(tiny, tmp_path):
    import json

    for name in ("odd", "bare"):
        shutil.copytree(tiny, tmp_path / name)
    (tmp_path / "odd" / "config.json").write_text(json.dumps({"model_type": "odd"}))
    for path in (tmp_path / "bare").glob("*"):
        if "token" in path.name or path.name == "vocab.txt":
            path.unlink()
    for name in ("odd", "bare"):
        with pytest.raises(NunerError, match="N001"):
            make_backbone(str(tmp_path / name))


def test_weights_that_are_a_pointer_to_git_lfs(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "pointer")
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90\n"
    )
    with pytest.raises(NunerError, match="N015.*git lfs pull"):
        make_backbone(str(folder))


def test_small_numbers_of_the_config_are_kept(tiny):
    model = make_backbone(tiny)
    expected = get_shim(model).encoder.config.layer_norm_eps
    assert expected == 1e-12
    again = make_backbone(tiny).from_bytes(model.to_bytes())
    assert get_shim(again).encoder.config.layer_norm_eps == expected


def test_tokenizer_and_transformer_as_on_the_stock_model(tiny, tmp_path):
    nlp = spacy.blank("en")
    config = {"@architectures": "spacy_nuner.Backbone.v1", "name": tiny}
    model = nlp.add_pipe("transformer", config={"model": config}).model
    assert model.tokenizer is None
    assert model.transformer is None
    nlp.initialize()
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path).get_pipe("transformer").model
    for one in (model, loaded, model.copy(), pickle.loads(pickle.dumps(model))):
        assert isinstance(one.tokenizer, PreTrainedTokenizerFast)
        assert isinstance(one.transformer, BertModel)
        assert one.tokenizer("a bed")["input_ids"] == model.tokenizer("a bed").input_ids
    # A copy learns by itself.
    copied = model.copy()
    assert copied.get_dim("nO") == model.get_dim("nO")
    assert copied.transformer is not model.transformer
    assert copied.shims[0].id != model.shims[0].id


def test_what_users_change_in_the_tokenizer_and_config_is_saved(tiny):
    model = make_backbone(tiny)
    model.tokenizer.model_max_length = 49
    model.transformer.config.layer_norm_eps = 1e-6
    again = make_backbone(tiny).from_bytes(model.to_bytes())
    assert again.tokenizer.model_max_length == 49
    assert again.transformer.config.layer_norm_eps == 1e-6


def test_tokenizer_and_transformer_can_be_set(nlp, tiny):
    model, other = make_backbone(tiny), make_backbone(tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert "leyton" not in tokenizer.get_vocab()
    tokenizer.add_tokens(["leyton"])
    encoder = AutoModel.from_pretrained(tiny)
    encoder.resize_token_embeddings(len(tokenizer))
    model.transformer, model.tokenizer = encoder, tokenizer
    again = other.from_bytes(model.to_bytes())
    for some in (model, again):
        data = some.predict([nlp("in Leyton")]).doc_data[0]
        assert data.wordpieces.strings[0][-1] == "leyton"


def test_what_a_doc_keeps_has_the_fields_of_spacy_transformers(nlp, tiny):
    data = make_backbone(tiny).predict([nlp(TEXTS[0])]).doc_data[0]
    pieces = data.wordpieces
    count = pieces.lengths[0]
    assert data.width == 32 and len(data.tensors) == 1
    assert data.tensors[0].shape == (1, count, data.width)
    assert pieces.input_ids.shape == pieces.attention_mask.shape == (1, count)
    assert len(pieces.strings[0]) == count
    assert set(data.tokens) == {"input_ids", "attention_mask", "input_texts"}
    again = type(data).empty().from_bytes(data.to_bytes())
    np.testing.assert_array_equal(again.tensors[0], data.tensors[0])
