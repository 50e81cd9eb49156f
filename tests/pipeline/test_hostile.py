"""Saved pipelines as somebody who means harm, or a bad copy, leaves them."""

import builtins
import contextlib
import errno
import json
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import spacy
import srsly
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from spacy_nuner.errors import NunerError
from spacy_nuner.pipeline.label_vectors import LabelVectors

from ..conftest import one_in
from ..util import make_tiny_backbone

TEXTS = ["a flat in Hackney", "900 a month, no pets"]
NAME = "nuner_concepts"
NAN = float("nan")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pipeline with its concept encoder."""
    folder = tmp_path_factory.mktemp("made")
    backbone = make_tiny_backbone(folder, TEXTS)
    nlp = spacy.blank("en")
    settings = {"backbone": str(backbone), "labels": ["area", "price"]}
    nlp.add_pipe(NAME, config={**settings, "keep_concept_encoder": True})
    nlp(TEXTS[0])
    nlp.to_disk(folder / "pipeline")
    return folder / "pipeline"


@pytest.fixture(scope="module")
def listening(tmp_path_factory):
    """A pipeline in which a component listens to a shared backbone."""
    folder = tmp_path_factory.mktemp("listening")
    backbone = make_tiny_backbone(folder, TEXTS)
    model = {"@architectures": "spacy_nuner.Backbone.v1", "name": str(backbone)}
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", config={"model": model})
    tok2vec = {
        "@architectures": "spacy_nuner.BackboneListener.v1",
        "pooling": {"@layers": "reduce_first.v1"},
    }
    ner = {"model": {"tok2vec": tok2vec}, "labels": ["area"]}
    nlp.add_pipe("nuner_ner", config=ner)
    nlp.initialize()
    nlp.to_disk(folder / "pipeline")
    return folder / "pipeline"


def change_model(change, file=f"{NAME}/model"):
    """Change what thinc has saved."""

    def changed(folder):
        msg = srsly.msgpack_loads((folder / file).read_bytes())
        msg = change(msg) or msg
        (folder / file).write_bytes(srsly.msgpack_dumps(msg))

    return changed


def change_shim(change, file=f"{NAME}/model"):
    """Change what the shim of the backbone has saved."""

    def changed(msg):
        (shims,) = [one for one in msg["shims"] if one]
        content = srsly.msgpack_loads(shims[0])
        new = change(content)
        shims[0] = new if isinstance(new, bytes) else srsly.msgpack_dumps(content)

    return change_model(changed, file)


def put(part, value):
    return change_shim(lambda msg: msg.update({part: value}))


def name_file(name):
    return change_shim(lambda msg: msg["tokenizer"].update({name: b"written"}))


def put_config(**keys):
    return change_shim(lambda msg: msg["config"].update(keys))


def put_tokenizer(**keys):
    def change(msg):
        content = json.loads(msg["tokenizer"]["tokenizer_config.json"])
        text = json.dumps(content | keys)
        msg["tokenizer"]["tokenizer_config.json"] = text.encode()

    return change_shim(change)


def put_special_tokens(**keys):
    """As older releases have saved them, without a config of the tokenizer."""

    def change(msg):
        del msg["tokenizer"]["tokenizer_config.json"]
        msg["tokenizer"]["special_tokens_map.json"] = json.dumps(keys).encode()

    return change_shim(change)


def weigh(change):
    def changed(msg):
        weights = load(msg["weights"])
        change(weights)
        msg["weights"] = save(weights)

    return change_shim(changed)


def fill(weights):
    weights["encoder.layer.1.output.dense.weight"][3, 2] = NAN


def reshape(weights):
    weights["encoder.layer.1.output.dense.weight"] = torch.zeros(8, 8)


def drop(weights):
    del weights["encoder.layer.1.output.dense.weight"]


def set_param(name, value):
    """Of the output layer: the only one with parameters."""

    def change(msg):
        (params,) = [one for one in msg["params"] if one]
        params[name] = value(params[name])

    return change_model(change)


def write(file, content):
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / file).write_bytes(data)


def state(change):
    def changed(folder):
        path = folder / NAME / "labels.json"
        content = json.loads(path.read_text("utf8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf8")

    return changed


def set_label(value):
    return state(lambda content: content["labels"].update(area=value))


def set_temperature(value, content):
    content["temperature"] = value


def set_thresholds(each):
    saved = {"configured": None, "each": each}
    return state(lambda content: content.update(threshold=saved))


def not_a_file(name):
    def change(folder):
        (folder / NAME / name).unlink()
        os.mkfifo(folder / NAME / name)

    return change


def link_to_device(name):
    def change(folder):
        (folder / NAME / name).unlink()
        (folder / NAME / name).symlink_to("/dev/zero")

    return change


def vectors(file, content):
    return write(f"{NAME}/concept_encoder/{file}", content)


def width(msg):
    for node in msg["nodes"]:
        if node["name"] == "transformer":
            node["dims"]["nO"] = 31


KERNEL = "someone/kernels:attention"
DEEP = "[" * 100_000
ABSOLUTE = str(Path(tempfile.gettempdir()) / "spacy-nuner-was-here")
MODEL = f"{NAME}/model"

HOSTILE = {
    # Names of files.
    "parent": ("N020", name_file("../../x")),
    "parent-2": ("N020", name_file("tokenizer.json/../../x")),
    "parent-3": ("N020", name_file("..")),
    "absolute": ("N020", name_file(ABSOLUTE)),
    "folder": ("N020", name_file("sub/tokenizer.json")),
    "unknown": ("N020", name_file("x.py")),
    "weights-file": ("N020", name_file("pytorch_model.bin")),
    "config-file": ("N020", name_file("config.json")),
    "backslash": ("N020", name_file("..\\x")),
    "no-name": ("N020", name_file("")),
    "zero": ("N020", name_file("tokenizer.json\0.py")),
    "number": ("N020", name_file(5)),
    # Code.
    "kernel": ("N017", put_config(_attn_implementation_internal=KERNEL)),
    "kernel-2": ("N017", put_config(attn_implementation=KERNEL)),
    "kernel-3": ("N017", put_config(text_config={"_attn_implementation": KERNEL})),
    "auto-map": ("N017", put_config(auto_map={"AutoModel": "x--evil.Model"})),
    "quantization": ("N017", put_config(quantization_config={"quant_method": "hqq"})),
    "method": ("N017", put_config(to_dict=5)),
    "type": ("N001", put_config(model_type="encoder-decoder")),
    "tokenizer-map": ("N017", put_tokenizer(auto_map=["evil.T", "evil.T"])),
    "tokenizer-file": ("N017", put_tokenizer(tokenizer_file="/etc/passwd")),
    "special-tokens": ("N017", put_special_tokens(tokenizer_file="/etc/passwd")),
    "special-tokens-2": ("N017", put_special_tokens(auto_map=["evil.T", "evil.T"])),
    "special-tokens-3": ("N017", put_special_tokens(gguf_file="/etc/passwd")),
    "tokenizer-object": ("N017", put_tokenizer(_tokenizer="x")),
    "tokenizer-class": ("N007", put_tokenizer(tokenizer_class="AutoModel")),
    # Sizes and weights.
    "width": ("N021", put_config(hidden_size=10**9)),
    "layers": ("N021", put_config(num_hidden_layers=10**9)),
    "layers-2": ("N021", put_config(num_hidden_layers=1)),
    "vocabulary": ("N021", put_config(vocab_size=10**12)),
    "positions": ("N021", put_config(max_position_embeddings=10**10)),
    "heads": ("N021", put_config(num_attention_heads=0)),
    "nan": ("N021", weigh(fill)),
    "shape": ("N021", weigh(reshape)),
    "missing": ("N403", weigh(drop)),
    "nothing": ("N021", weigh(dict.clear)),
    # Parts of another type.
    "config": ("N023", put("config", [])),
    "config-2": ("N023", put("config", None)),
    "tokenizer": ("N023", put("tokenizer", 5)),
    "tokenizer-2": ("N023", put("tokenizer", {})),
    "tokenizer-3": ("N023", put("tokenizer", {"tokenizer.json": "text"})),
    "tokenizer-4": ("N020", put("tokenizer", [5])),
    "weights": ("N023", put("weights", b"")),
    "weights-2": ("N023", put("weights", b"\xff" * 8 + b"{}")),
    "weights-3": ("N023", put("weights", {"a": 1})),
    "weights-4": ("N023", put("weights", None)),
    "part": ("N023", change_shim(lambda msg: msg.pop("config") and None)),
    "part-2": ("N023", change_shim(lambda msg: msg.pop("tokenizer") and None)),
    "more": ("N023", put("more", 5)),
    "shim": ("N023", change_shim(lambda msg: b"")),
    "shim-2": ("N023", change_shim(lambda msg: b"\xff\xff")),
    "shim-3": ("N023", change_shim(lambda msg: srsly.msgpack_dumps([1, 2]))),
    "shim-4": ("N023", change_shim(lambda msg: srsly.msgpack_dumps("text"))),
    "shim-5": ("N023", change_shim(lambda msg: b"\xdd\xff\xff\xff\xff")),
    "hidden": ("N401", put("hidden_layers", [-9])),
    "hidden-2": ("N401", put("hidden_layers", "x")),
    "hidden-3": ("N401", put("hidden_layers", [-1] * 1000)),
    "hidden-4": ("N401", put("hidden_layers", [-1, True])),
    "hidden-5": ("N023", put("hidden_layers", [-1])),
    # What thinc has saved.
    "model": ("N023", write(MODEL, b"")),
    "model-2": ("N023", write(MODEL, b"\xc1\xc1")),
    "model-3": ("N023", write(MODEL, srsly.msgpack_dumps([]))),
    "model-4": ("N023", write(MODEL, srsly.msgpack_dumps({"nodes": []}))),
    "model-5": ("N023", lambda folder: (folder / MODEL).unlink()),
    "model-6": ("N023", change_model(lambda msg: msg["shims"].clear())),
    "model-7": ("N023", change_model(width)),
    "output": ("N023", set_param("W", lambda W: W[:1])),
    "output-2": ("N023", set_param("W", lambda W: W[:, :10])),
    "output-3": ("N023", set_param("W", lambda W: W * np.float32(NAN))),
    "output-4": ("N023", set_param("b", lambda b: b + np.float32("inf"))),
    "output-5": ("N023", set_param("b", lambda b: b[:1])),
    "output-6": ("N023", set_param("b", lambda b: None)),
    "output-8": ("N023", set_param("W", lambda W: W.astype("c8"))),
    "output-9": ("N023", set_param("W", lambda W: W > 0)),
    "output-10": ("N023", set_param("b", lambda b: b.tolist())),
    "device": ("N023", link_to_device("model")),
    "device-2": ("N023", link_to_device("labels.json")),
    "fifo": ("N023", not_a_file("model")),
    "fifo-2": ("N023", not_a_file("labels.json")),
    "output-7": ("N023", set_param("W", lambda W: "text")),
    # The labels.
    "state": ("N023", write(f"{NAME}/labels.json", "[]")),
    "state-2": ("N023", write(f"{NAME}/labels.json", "null")),
    "state-3": ("N023", write(f"{NAME}/labels.json", DEEP)),
    "state-4": ("N023", write(f"{NAME}/labels.json", '{"labels": {')),
    "state-5": ("N023", lambda folder: (folder / NAME / "labels.json").unlink()),
    "labels": ("N023", state(lambda content: content.update(labels=["area"]))),
    "labels-2": ("N023", state(lambda content: content["labels"].update(x=None))),
    "labels-3": ("N023", state(lambda content: content.pop("backbone"))),
    "labels-4": ("N501", state(lambda content: content["labels"].update({"": {}}))),
    **{
        f"threshold-{number}": ("N510", set_thresholds(each))
        for number, each in enumerate(
            [{"area": one} for one in (NAN, float("inf"), -1, 10**400, "x", None, [0])]
            + [[0.5], NAN, "x", 7]
        )
    },
    **{
        f"temperature-{number}": ("N023", state(partial(set_temperature, value)))
        for number, value in enumerate([0, -1, NAN, 10**400, "x", None, [1]])
    },
    "threshold": ("N023", state(lambda content: content.update(threshold=5))),
    "one-more": ("N023", state(lambda content: content["labels"].update(x={}))),
    "one-less": ("N023", state(lambda content: content["labels"].pop("area"))),
    "label": ("N023", set_label([1])),
    "label-2": ("N023", set_label({"name": 5})),
    "label-3": ("N023", set_label({"trained": "x"})),
    "label-4": ("N023", set_label({"more": "x"})),
    "backbone": ("N023", state(lambda content: content.update(backbone=["x"]))),
    # The concept encoder.
    "vectors": ("N303", vectors("nuner.json", "[]")),
    "vectors-2": ("N303", vectors("nuner.json", DEEP)),
    "vectors-3": ("N018", vectors("concept_encoder/config.json", "[]")),
    "vectors-4": ("N015", vectors("concept_encoder/background.safetensors", b"")),
    "vectors-5": ("N015", vectors("concept_encoder/model.safetensors", b"x")),
    "vectors-6": ("N017", vectors("concept_encoder/adapter_config.json", "{}")),
}


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """Afterwards nothing was run, written elsewhere or asked."""
    monkeypatch.setattr(builtins, "input", None)
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    # Where files of the bytes are written for transformers.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "a" / "temporary"))
    (tmp_path / "a" / "temporary").mkdir(parents=True)
    folder = tmp_path / "some folder"
    yield folder
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "some folder"}
    assert not list((tmp_path / "a" / "temporary").iterdir())
    assert not Path(ABSOLUTE).exists()


@pytest.mark.parametrize("name", one_in(4, HOSTILE))
def test_a_saved_pipeline_is_data(name, made, guarded):
    code, change = HOSTILE[name]
    shutil.copytree(made, guarded)
    change(guarded)
    before = sorted(guarded.rglob("*"))
    with pytest.raises(NunerError) as caught:
        spacy.load(guarded)
    assert caught.value.code == code, str(caught.value)
    assert len(str(caught.value)) < 1000
    assert sorted(guarded.rglob("*")) == before


SHARED = {
    "model": ("N023", write("transformer/model", b"\xc1")),
    "parts": ("N023", write("transformer/model", srsly.msgpack_dumps({"nodes": 5}))),
    "name": (
        "N020",
        change_shim(
            lambda msg: msg["tokenizer"].update({"../../x": b""}), "transformer/model"
        ),
    ),
    "kernel": (
        "N017",
        change_shim(
            lambda msg: msg["config"].update(_attn_implementation_internal=KERNEL),
            "transformer/model",
        ),
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_backbone_is_data(name, listening, guarded):
    code, change = SHARED[name]
    shutil.copytree(listening, guarded)
    change(guarded)
    with pytest.raises(NunerError) as caught:
        spacy.load(guarded)
    assert caught.value.code == code, str(caught.value)


@pytest.mark.parametrize(
    "name", ["../x", ABSOLUTE, "concept_encoder/../../x", "x", "concept_encoder", 5]
)
def test_files_of_a_concept_encoder_in_bytes(name, made, guarded):
    files = LabelVectors(made / NAME / "concept_encoder").to_bytes()
    assert LabelVectors.from_bytes(files).encoder
    with pytest.raises(NunerError, match="N020.*concept encoder"):
        LabelVectors.from_bytes({**files, name: b"written"})


@pytest.mark.parametrize("threshold", ["NaN", "-Infinity", "7"])
def test_thresholds_that_are_no_probabilities(threshold, made, guarded):
    shutil.copytree(made, guarded)
    path = guarded / "config.cfg"
    text = path.read_text("utf8")
    assert "threshold = null" in text
    path.write_text(text.replace("threshold = null", f"threshold = {threshold}"))
    # spaCy takes no NaN and no infinity in a config.
    with pytest.raises(ValueError, match="N510.*threshold|E961"):
        spacy.load(guarded)


def test_what_is_whole_is_loaded(made, listening, guarded):
    for folder in (made, listening):
        nlp = spacy.load(folder)
        pipe = nlp.get_pipe(nlp.pipe_names[-1])
        before = pipe.predict([nlp(TEXTS[0])])[0]
        again = nlp.from_bytes(nlp.to_bytes())
        found = again.get_pipe(pipe.name).predict([again(TEXTS[0])])[0]
        assert before.any()
        np.testing.assert_array_equal(found, before)


def test_a_full_disk_is_no_damage(made, monkeypatch):
    saved = spacy.load(made).to_bytes()

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    nlp = spacy.load(made)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", fail)
    with pytest.raises(OSError, match="No space left on device"):
        nlp.from_bytes(saved)


@pytest.fixture(scope="module")
def pipe(made):
    return spacy.load(made).get_pipe(NAME)


quick = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@quick
@given(
    places=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3),
    byte=st.integers(0, 255),
    near=st.booleans(),
)
def test_any_byte_of_a_model(made, pipe, places, byte, near):
    """At the beginning, where there is structure, and anywhere."""
    data = bytearray((made / MODEL).read_bytes())
    for place in places:
        data[int(place * (2000 if near else len(data)))] = byte
    with contextlib.suppress(NunerError):
        pipe.from_bytes(srsly.msgpack_dumps({"model": bytes(data)}))


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.binary(max_size=9)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@quick
@given(data=st.data())
def test_any_value_in_a_shim(made, pipe, data):
    content = srsly.msgpack_loads((made / MODEL).read_bytes())
    (shims,) = [one for one in content["shims"] if one]
    saved = srsly.msgpack_loads(shims[0])
    part = data.draw(st.sampled_from(["config", "tokenizer", None]))
    target = saved if part is None else saved[part]
    key = data.draw(st.sampled_from(sorted(target)) | st.text(max_size=9))
    target[key] = data.draw(VALUE)
    shim = next(shim for node in pipe.model.walk() for shim in node.shims)
    with contextlib.suppress(NunerError):
        shim.from_bytes(srsly.msgpack_dumps(saved))


PART = f"{NAME}/concept_encoder"


def set_kept(nlp, kept):
    nlp.get_pipe(NAME).keep_concept_encoder = kept


@pytest.mark.parametrize("kept", [True, False])
def test_files_of_the_users_stay_where_a_pipeline_is_saved(made, guarded, kept):
    shutil.copytree(made, guarded)
    nlp = spacy.load(guarded)
    mine = [guarded / PART / "notes.txt", guarded / PART / "concept_encoder" / "mine"]
    for path in mine:
        path.write_text("mine")
    set_kept(nlp, kept)
    nlp.to_disk(guarded)
    assert all(path.read_text() == "mine" for path in mine)
    files = {path for path in (guarded / PART).rglob("*") if path.is_file()}
    assert (files > set(mine)) == kept and files >= set(mine)


@pytest.mark.parametrize("kept", [True, False])
def test_a_link_in_place_of_a_concept_encoder_is_not_followed(made, guarded, kept):
    shutil.copytree(made, guarded)
    nlp = spacy.load(guarded)
    elsewhere = guarded.parent / "a" / "elsewhere"
    shutil.move(guarded / PART, elsewhere)
    (guarded / PART).symlink_to(elsewhere)
    before = {path: path.stat().st_ino for path in elsewhere.rglob("*")}
    set_kept(nlp, kept)
    nlp.to_disk(guarded)
    assert not (guarded / PART).is_symlink() and (guarded / PART).is_dir() == kept
    assert {path: path.stat().st_ino for path in elsewhere.rglob("*")} == before


def test_the_next_save_removes_what_a_killed_one_has_left(made, guarded, monkeypatch):
    shutil.copytree(made, guarded)
    nlp = spacy.load(guarded)
    with monkeypatch.context() as patch:
        patch.setattr(type(guarded), "write_bytes", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nlp.get_pipe(NAME)._vectors.to_disk(guarded / PART)
    nlp.to_disk(guarded)
    found = {path.name for path in (guarded / PART).iterdir()}
    assert found == {"concept_encoder", "nuner.json"}
