"""What every architecture has to give: layers, freezing, offsets, limits, a run."""

import json
import sys

import pytest
import spacy
import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_MAPPING,
    AlbertConfig,
    AlbertModel,
    AutoModel,
    AutoTokenizer,
    CanineConfig,
    CanineModel,
    CanineTokenizer,
)

from spacy_nuner.encoders.folder import read_info
from spacy_nuner.encoders.layers import (
    encoder_layers,
    freeze,
    layer_of_parameters,
    load_encoder,
    max_pieces,
    set_training,
    special_pieces,
)
from spacy_nuner.encoders.safety import MODEL_TYPES
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.data.pieces import AnnotatedText, Mention, Windower
from spacy_nuner.pretrain.run import pretrain

from ..tiny import ARCHITECTURES, LAYERS, POSITIONS, WIDTH, make_tiny
from .conftest import SENTENCES, TEXTS

pytestmark = pytest.mark.slow


# What an architecture calls the first and the last piece.
SPECIALS = {
    "bert": ("[CLS]", "[SEP]"),
    "mbert": ("[CLS]", "[SEP]"),
    "roberta": ("<s>", "</s>"),
    "mpnet": ("<s>", "</s>"),
    "deberta-v3": ("[CLS]", "[SEP]"),
    "modernbert": ("[CLS]", "[SEP]"),
    "xlm-r": ("<s>", "</s>"),
}
# Positions are relative or rotary: longer inputs are computed, but no one trained it.
NO_LIMIT = {"deberta-v3", "modernbert"}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory):
    return make_tiny(name, tmp_path_factory.mktemp(name), TEXTS)


@pytest.fixture
def encoder(folder):
    return load_encoder(folder)


def encode(encoder, length):
    ids = torch.randint(5, 30, (2, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    return encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)


def test_layers(encoder):
    _, model = encoder
    layers = encoder_layers(model)
    assert len(layers) == LAYERS
    output = encode(model, 10)
    assert len(output.hidden_states) == LAYERS + 1
    assert output.last_hidden_state.shape == (2, 10, WIDTH)
    found = set(layer_of_parameters(model).values())
    assert found >= set(range(-1, LAYERS))


def test_freezing(encoder):
    _, model = encoder
    assert freeze(model, 2) > 0
    set_training(model)
    states = encode(model, 10).hidden_states
    assert [state.requires_grad for state in states] == [False] * 3 + [True] * 2
    # No dropout below: the same comes out twice, and above it does not.
    again = encode(model, 10).hidden_states
    assert torch.equal(states[2], again[2])
    states[-1].square().sum().backward()
    place = layer_of_parameters(model)
    for parameter_name, parameter in model.named_parameters():
        frozen = place[parameter_name] < 2
        assert parameter.requires_grad is not frozen, parameter_name
        if frozen:
            assert parameter.grad is None
        elif place[parameter_name] < LAYERS:
            assert parameter.grad is not None, parameter_name


def test_freezing_all_and_nothing(encoder):
    _, model = encoder
    total = sum(p.numel() for p in model.parameters())
    assert freeze(model, -1) == total
    assert freeze(model, 0, embeddings=False) == 0
    below = freeze(model, 0)
    assert 0 < below < total
    assert encode(model, 10).hidden_states[0].requires_grad is False


def test_special_pieces(name, encoder):
    tokenizer, _ = encoder
    before, after = special_pieces(tokenizer)
    start, end = SPECIALS[name]
    assert tokenizer.convert_ids_to_tokens([*before, *after]) == [start, end]
    ids = tokenizer(TEXTS[2])["input_ids"]
    bare = tokenizer(TEXTS[2], add_special_tokens=False)["input_ids"]
    assert ids == [*before, *bare, *after]
    assert tokenizer.pad_token_id is not None


def test_longest_input(name, encoder):
    tokenizer, model = encoder
    assert max_pieces(tokenizer, model) == POSITIONS
    states = encode(model, POSITIONS).last_hidden_state
    assert torch.isfinite(states).all()
    if name not in NO_LIMIT:
        with pytest.raises((IndexError, RuntimeError)):
            encode(model, POSITIONS + 1)


def test_padding_is_not_read(encoder):
    tokenizer, model = encoder
    short, long = TEXTS[4], TEXTS[0] + TEXTS[2]
    batch = tokenizer([short, long], padding=True, return_tensors="pt")
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    alone = tokenizer(short, return_tensors="pt")
    with torch.no_grad():
        padded = model(**inputs).last_hidden_state[0]
        expected = model(input_ids=alone["input_ids"]).last_hidden_state[0]
    torch.testing.assert_close(padded[: len(expected)], expected, atol=1e-5, rtol=1e-4)


def test_mentions_in_word_pieces(encoder):
    tokenizer, _ = encoder
    windower = Windower(tokenizer, POSITIONS)
    for text, mentions in SENTENCES:
        spans = [
            Mention(text.index(mention), text.index(mention) + len(mention), number)
            for number, (mention, _, _) in enumerate(mentions)
        ]
        (row,) = windower([AnnotatedText(text, spans)])
        bare = tokenizer(
            text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            split_special_tokens=True,
        )
        assert row["input_ids"][1:-1] == bare["input_ids"]
        assert row["concepts"] == list(range(len(mentions)))
        for start, end, (mention, _, _) in zip(
            row["starts"], row["ends"], mentions, strict=True
        ):
            pieces = bare["offset_mapping"][start - 1 : end - 1]
            found = text[pieces[0][0] : pieces[-1][1]]
            # A piece may have a blank in front, or reach over the end of a mention.
            assert mention in found
            assert len(found.strip()) <= len(mention) + 2, (mention, found)
    assert windower.counts.mentions_without_pieces == 0


def test_the_whole_way(name, folder, tmp_path, corpus, make_config):
    """A step of pre-training, the folder as others read it, concepts in a text."""
    out = tmp_path / "out"
    config = make_config(corpus, folder, training__epochs=1, model__frozen_layers=2)
    pretrain(config, out)
    info = read_info(out)
    assert info.hidden_layers == [-1, -3]
    before, after = (AutoModel.from_pretrained(place) for place in (folder, out))
    assert type(before) is type(after)
    place = layer_of_parameters(before)
    new = dict(after.named_parameters())
    changed = {
        place[key]
        for key, old in before.named_parameters()
        if not torch.equal(old, new[key])
    }
    # Bit-equal where frozen; what stands above the layers is a pooler or a last norm.
    assert {2, 3} <= changed <= {2, 3, 4}
    old, new = (AutoTokenizer.from_pretrained(place) for place in (folder, out))
    assert [old(text)["input_ids"] for text in TEXTS] == [
        new(text)["input_ids"] for text in TEXTS
    ]
    nlp = spacy.blank("en")
    # With a threshold of 0 every token is of every concept.
    settings = {"backbone": str(out), "labels": ["city", "year"], "threshold": 0.0}
    nlp.add_pipe("nuner_concepts", config=settings)
    for text, _ in SENTENCES:
        doc = nlp(text)
        assert {span.label_ for span in doc.spans["concepts"]} == {"city", "year"}
        for span in doc.spans["concepts"]:
            assert span.text == doc.text[span.start_char : span.end_char]
            assert 0 < span.end - span.start <= len(doc)
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    texts = [text for text, _ in SENTENCES]
    for one, two in zip(nlp.pipe(texts), again.pipe(texts), strict=True):
        scores = [doc.spans["concepts"].attrs["scores"] for doc in (one, two)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "file"),
    [("deberta-v3", "spm.model"), ("xlm-r", "sentencepiece.bpe.model")],
)
def test_sentencepiece_without_its_packages(name, file, tmp_path, monkeypatch):
    """microsoft/deberta-v3-base comes without a tokenizer.json."""
    make_tiny(name, tmp_path, TEXTS)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / file).write_bytes(b"")
    for package in ("sentencepiece", "google.protobuf"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NunerError, match="N011.*pip install sentencepiece protobuf"):
        load_encoder(tmp_path)


def test_an_encoder_without_a_fast_tokenizer(tmp_path):
    """CANINE reads characters; its tokenizer gives no offsets."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    CanineModel(CanineConfig(**sizes, intermediate_size=64)).save_pretrained(tmp_path)
    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(NunerError, match="N007.*CanineTokenizer"):
        load_encoder(tmp_path)


def test_an_encoder_without_a_list_of_layers():
    """The layers of ALBERT are one layer that is run again."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = AlbertConfig(vocab_size=50, intermediate_size=64, **sizes)
    with pytest.raises(NunerError, match="N008.*AlbertModel has no list of 3 layers"):
        encoder_layers(AlbertModel(config))


ODD_SIZES = {
    "longformer": {"attention_window": [8] * LAYERS},
    "big_bird": {"attention_type": "original_full"},
    "mobilebert": {"true_hidden_size": WIDTH, "intra_bottleneck_size": WIDTH},
    "squeezebert": dict.fromkeys(
        [
            *("q_groups", "k_groups", "v_groups", "post_attention_groups"),
            *("intermediate_groups", "output_groups"),
        ],
        1,
    ),
    "modernbert": {
        **{"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
        "global_attn_every_n_layers": 2,
    },
}


@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES))
def test_each_architecture_of_the_list_is_read(model_type, tmp_path):
    """With every key that transformers knows of it in the file."""
    make_tiny("bert", tmp_path, TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    config = CONFIG_MAPPING[model_type](
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        embedding_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=POSITIONS + 8,
        pad_token_id=tokenizer.pad_token_id,
        **ODD_SIZES.get(model_type, {}),
    )
    expected = MODEL_MAPPING[type(config)](config)
    expected.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    found = dict(load_encoder(tmp_path)[1].named_parameters())
    for name, weight in expected.named_parameters():
        assert torch.equal(weight, found.pop(name)), name
    assert not found
