"""Folders of encoders as somebody who means harm, or a bad copy, leaves them."""

import builtins
import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.folder import load_background, read_info
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.encoders.names import resolve_weights
from spacy_nuner.errors import NunerError
from spacy_nuner.models.backbone import build_backbone, get_shim
from spacy_nuner.pipeline.label_vectors import LabelVectors

from ..util import make_tiny_backbone

TEXTS = ["a flat in Hackney", "900 a month, no pets"]
CONFIG, TOKENIZER = "config.json", "tokenizer_config.json"
KERNEL = "someone/kernels:attention"
NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_tiny_backbone(tmp_path_factory.mktemp("whole"), TEXTS, layers=4)


def put(file, **keys):
    """Set keys of a JSON file."""

    def change(folder):
        content = json.loads((folder / file).read_text("utf8"))
        (folder / file).write_text(json.dumps(content | keys), encoding="utf8")

    return change


def write(file, text):
    return lambda folder: (folder / file).write_text(text, encoding="utf8")


def weigh(change, file="model.safetensors"):
    """Change the weights; what is written is a whole file again."""

    def changed(folder):
        weights = {key: one.clone() for key, one in load_file(folder / file).items()}
        change(weights)
        save_file(weights, folder / file, metadata={"format": "pt"})

    return changed


def fill(value):
    def change(weights):
        weights["encoder.layer.1.output.dense.weight"][3, 2] = value

    return change


def reshape(weights):
    weights["encoder.layer.1.output.dense.weight"] = torch.zeros(8, 8)


def drop(weights):
    del weights["encoder.layer.1.output.dense.weight"]


def all_bytes(file, content):
    return lambda folder: (folder / file).write_bytes(content)


def shards(content):
    def change(folder):
        shutil.move(folder / "model.safetensors", folder.parent / "x.safetensors")
        write("model.safetensors.index.json", json.dumps(content))(folder)

    return change


def pickled(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def more_pieces(number):
    def change(folder):
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text("utf8"))
        content["model"]["vocab"]["zzz"] = number
        path.write_text(json.dumps(content), encoding="utf8")

    return change


def special_piece(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf8"))
    content["post_processor"] = {
        "type": "BertProcessing",
        "sep": ["[SEP]", 10**6],
        "cls": ["[CLS]", 2],
    }
    path.write_text(json.dumps(content), encoding="utf8")


def many_pieces(folder):
    """A text is there a thousand times when it is tokenized."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf8"))
    one, two = ({"Sequence": {"id": part, "type_id": 0}} for part in "AB")
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [one] * 1000,
        "pair": [one, two],
        "special_tokens": {},
    }
    path.write_text(json.dumps(content), encoding="utf8")


def grow(times, nested):
    """Each rule makes a hundred letters of one."""

    def change(folder):
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text("utf8"))
        one = {"type": "Replace", "pattern": {"String": "q"}, "content": "q" * 100}
        rules = [one, content["normalizer"]]
        for _ in range(times - 1):
            rules = [{"type": "Sequence", "normalizers": rules}] if nested else rules
            rules = [one, *rules]
        content["normalizer"] = {"type": "Sequence", "normalizers": rules}
        path.write_text(json.dumps(content), encoding="utf8")

    return change


def old_tokens(**keys):
    """As older releases have saved the names of special pieces."""

    def change(folder):
        (folder / TOKENIZER).unlink()
        write("special_tokens_map.json", json.dumps(keys))(folder)

    return change


def sparse(file, size):
    def change(folder):
        with (folder / file).open("r+b") as opened:
            opened.truncate(size)

    return change


def nest(depth):
    return [nest(depth - 1)] if depth else 1


DEEP = "[" * 100_000
PART = "model-00001-of-00002.safetensors"
CODE = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
LARGE_HEADER = (1 << 26).to_bytes(8, "little") + b" " * (1 << 26)

HOSTILE = {
    # A config asks for code, or for what lies elsewhere.
    "kernel": ("N017", put(CONFIG, _attn_implementation_internal=KERNEL)),
    "kernel-2": ("N017", put(CONFIG, _attn_implementation=KERNEL)),
    "kernel-3": ("N017", put(CONFIG, attn_implementation=KERNEL)),
    "kernel-4": ("N017", put(CONFIG, _attn_implementation_internal={"": KERNEL})),
    "kernel-5": ("N017", put(CONFIG, text_config={"attn_implementation": KERNEL})),
    "kernel-6": ("N017", put(CONFIG, some_later_key=[{"x": KERNEL}])),
    "attention": ("N017", put(CONFIG, _attn_implementation_internal="evil")),
    "auto-map": ("N017", put(CONFIG, auto_map=CODE)),
    "auto-map-elsewhere": (
        "N017",
        put(CONFIG, auto_map={"AutoModel": "someone/else--evil.Model"}),
    ),
    "auto-map-tokenizer": (
        "N017",
        put(CONFIG, auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}),
    ),
    "auto-map-list": ("N017", put(TOKENIZER, auto_map=["evil.T", "evil.T"])),
    "auto-map-dict": (
        "N017",
        put(TOKENIZER, auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}),
    ),
    "pipelines": ("N017", put(CONFIG, custom_pipelines={"x": {"impl": "evil.P"}})),
    "quantization": (
        "N017",
        put(CONFIG, quantization_config={"quant_method": "bitsandbytes_4bit"}),
    ),
    "weights-elsewhere": ("N017", put(CONFIG, transformers_weights="../x.safetensors")),
    "other-config": ("N017", put(CONFIG, configuration_files=["config.4.0.0.json"])),
    "processor": (
        "N017",
        write("processor_config.json", '{"auto_map": {"AutoProcessor": "evil.P"}}'),
    ),
    "preprocessor": (
        "N017",
        write("preprocessor_config.json", '{"auto_map": {"AutoProcessor": "evil.P"}}'),
    ),
    "generation": ("N017", write("generation_config.json", '{"custom_generate": "x"}')),
    "specials": ("N018", write("special_tokens_map.json", "[]")),
    "adapter": (
        "N017",
        write("adapter_config.json", '{"base_model_name_or_path": "someone/else"}'),
    ),
    "timm": ("N017", put(CONFIG, backbone="someone/else", use_timm_backbone=True)),
    "class": ("N017", put(CONFIG, __class__="x")),
    "dict": ("N017", put(CONFIG, __dict__={"hidden_size": 1})),
    "attribute-map": ("N017", put(CONFIG, attribute_map={"hidden_size": "x"})),
    "method": ("N017", put(CONFIG, to_dict="x")),
    "method-2": ("N017", put(CONFIG, get_text_config=5)),
    "tokenizer-file": ("N017", put(TOKENIZER, tokenizer_file="/etc/passwd")),
    "vocab-file": ("N017", put(TOKENIZER, vocab_file="../../x")),
    "fast-files": ("N017", put(TOKENIZER, fast_tokenizer_files=["tokenizer.4.0.json"])),
    "init-inputs": ("N017", put(TOKENIZER, init_inputs=["/etc/passwd"])),
    "gguf": ("N017", put(TOKENIZER, gguf_file="/etc/passwd")),
    "object": ("N017", put(TOKENIZER, tokenizer_object="x")),
    "object-2": ("N017", put(TOKENIZER, _tokenizer="x")),
    "object-3": ("N017", put(TOKENIZER, decoder="x")),
    "special-file": ("N017", old_tokens(tokenizer_file="/etc/passwd")),
    "special-file-2": ("N017", old_tokens(vocab_file="/etc/passwd")),
    "special-object": ("N017", old_tokens(tokenizer_object="x")),
    "special-gguf": ("N017", old_tokens(gguf_file="/etc/passwd")),
    "slow": ("N017", put(TOKENIZER, __slow_tokenizer="x")),
    "tokenizer-class": ("N007", put(TOKENIZER, tokenizer_class="AutoModel")),
    "tokenizer-class-2": ("N007", put(TOKENIZER, tokenizer_class="pipeline")),
    "tokenizer-class-3": ("N007", put(TOKENIZER, tokenizer_class="os.system")),
    "tokenizer-class-4": ("N007", put(TOKENIZER, tokenizer_class=["x", 5])),
    "tokenizer-class-5": ("N007", put(TOKENIZER, tokenizer_class="TransfoXLTokenizer")),
    "slow-tokenizer": ("N007", put(TOKENIZER, tokenizer_class="BertweetTokenizer")),
    # Another architecture.
    "type": ("N001", put(CONFIG, model_type="encoder-decoder")),
    "type-2": ("N001", put(CONFIG, model_type="perceptron-of-1958")),
    "type-3": ("N001", put(CONFIG, model_type="timm_wrapper")),
    "type-4": ("N001", put(CONFIG, model_type=["bert"])),
    "type-5": ("N001", put(CONFIG, model_type="llama")),
    "no-type": ("N001", write(CONFIG, "{}")),
    # No config.
    "list": ("N018", write(CONFIG, "[]")),
    "null": ("N018", write(CONFIG, "null")),
    "cut": ("N018", write(CONFIG, '{"model_type": "be')),
    "deep": ("N018", write(CONFIG, DEEP)),
    "deep-object": ("N018", write(CONFIG, '{"a":' * 100_000)),
    "binary": ("N018", all_bytes(CONFIG, b"\xff\xfe\x00")),
    "large": ("N018", sparse(CONFIG, 1 << 40)),
    "tokenizer-list": ("N018", write(TOKENIZER, "[]")),
    "tokenizer-deep": ("N018", write(TOKENIZER, DEEP)),
    "tokenizer-large": ("N018", sparse(TOKENIZER, 1 << 26)),
    "tokenizer-larger": ("N022", sparse("tokenizer.json", 1 << 40)),
    # Sizes that no weights are there for.
    "width": ("N021", put(CONFIG, hidden_size=10**9)),
    "width-2": ("N021", put(CONFIG, hidden_size=2**16)),
    "width-3": ("N021", put(CONFIG, hidden_size=30)),
    "width-4": ("N021", put(CONFIG, hidden_size=0)),
    "width-5": ("N021", put(CONFIG, hidden_size=-32)),
    "width-6": ("N021", put(CONFIG, hidden_size="32")),
    "width-7": ("N021", put(CONFIG, hidden_size=32.5)),
    "width-8": ("N021", put(CONFIG, hidden_size=None)),
    "width-9": ("N021", put(CONFIG, hidden_size=10**400)),
    "layers": ("N021", put(CONFIG, num_hidden_layers=10**9)),
    "layers-2": ("N021", put(CONFIG, num_hidden_layers=5)),
    "layers-3": ("N021", put(CONFIG, num_hidden_layers=3)),
    "layers-4": ("N021", put(CONFIG, num_hidden_layers=0)),
    "layers-5": ("N021", put(CONFIG, num_hidden_layers=[4])),
    "vocabulary": ("N021", put(CONFIG, vocab_size=10**12)),
    "vocabulary-2": ("N021", put(CONFIG, vocab_size=1000)),
    "positions": ("N021", put(CONFIG, max_position_embeddings=10**10)),
    "positions-2": ("N021", put(CONFIG, max_position_embeddings=63)),
    "inner": ("N021", put(CONFIG, intermediate_size=10**9)),
    "inner-2": ("N021", put(CONFIG, intermediate_size=65)),
    "types": ("N021", put(CONFIG, type_vocab_size=3)),
    "heads": ("N021", put(CONFIG, num_attention_heads=0)),
    "heads-2": ("N021", put(CONFIG, num_attention_heads=3)),
    "labels": ("N021", put(CONFIG, num_labels=10**9)),
    "labels-2": ("N021", put(CONFIG, num_labels="x")),
    "activation": ("N021", put(CONFIG, hidden_act="no_such")),
    "activation-2": ("N021", put(CONFIG, hidden_act={"a": 1})),
    "dropout": ("N021", put(CONFIG, hidden_dropout_prob=7)),
    "dropout-2": ("N021", put(CONFIG, attention_probs_dropout_prob=NAN)),
    "dropout-3": ("N021", put(CONFIG, classifier_dropout=INFINITE)),
    "unsaved": ("N021", put(CONFIG, x=[10**30])),
    "unsaved-2": ("N021", put(CONFIG, x="\ud800")),
    "unsaved-3": ("N021", put(CONFIG, x=nest(800))),
    "epsilon": ("N021", put(CONFIG, layer_norm_eps="x")),
    "epsilon-2": ("N021", put(CONFIG, layer_norm_eps=NAN)),
    "epsilon-3": ("N021", put(CONFIG, layer_norm_eps=-1e9)),
    "decoder": ("N021", put(CONFIG, is_decoder=True, add_cross_attention=True)),
    "relative": ("N021", put(CONFIG, position_embedding_type="relative_key")),
    "other-type": ("N021", put(CONFIG, model_type="distilbert")),
    "problem": ("N021", put(CONFIG, problem_type="x")),
    # The weights.
    "none": ("N019", lambda folder: (folder / "model.safetensors").unlink()),
    "pickle": ("N019", pickled),
    "shard": ("N020", shards({"weight_map": {"x": "../x.safetensors"}})),
    "shard-2": ("N020", shards({"weight_map": {"x": "/etc/passwd"}})),
    "shard-3": ("N020", shards({"weight_map": {"x": 5}})),
    "shard-4": (
        "N002",
        shards({"weight_map": {"x": PART}}),
    ),
    "shard-5": ("N018", shards({"weight_map": []})),
    "shard-6": ("N018", shards([])),
    "missing": ("N021", weigh(drop)),
    "shape": ("N021", weigh(reshape)),
    "nan": ("N021", weigh(fill(NAN))),
    "infinite": ("N021", weigh(fill(INFINITE))),
    "minus-infinite": ("N021", weigh(fill(-INFINITE))),
    "nothing": ("N021", weigh(dict.clear)),
    "header": ("N015", all_bytes("model.safetensors", LARGE_HEADER)),
    "header-2": ("N015", all_bytes("model.safetensors", b"\xff" * 8)),
    "header-3": ("N015", all_bytes("model.safetensors", b"")),
    "header-4": ("N015", all_bytes("model.safetensors", b"\x02" + b"\0" * 7 + b"{}x")),
    # The tokenizer.
    "pieces": ("N022", more_pieces(10**6)),
    "pieces-2": ("N022", more_pieces(4_000_000_000)),
    "special": ("N022", special_piece),
    "thousand": ("N022", many_pieces),
    "growth": ("N022", grow(4, nested=False)),
    "growth-2": ("N022", grow(4, nested=True)),
    "tokenizer": ("N022", write("tokenizer.json", "{}")),
    "tokenizer-2": ("N022", write("tokenizer.json", DEEP)),
    "length": ("N022", put(TOKENIZER, model_max_length=0)),
    "length-2": ("N022", put(TOKENIZER, model_max_length="x")),
    "length-3": ("N022", put(TOKENIZER, model_max_length=NAN)),
    "length-4": ("N022", put(TOKENIZER, model_max_length=[5])),
}


@pytest.fixture
def guarded(tmp_path, whole, monkeypatch):
    """A backbone to spoil; afterwards nothing was run, written or asked."""
    folder = shutil.copytree(whole, tmp_path / "some folder" / "backbone")
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    for place in (folder, folder / "concept_encoder"):
        (place / "evil.py").write_text(code + "class Model: pass\nConfig = T = Model\n")
    monkeypatch.setattr(builtins, "input", None)
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    yield folder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some folder"]


def files_of(folder):
    return sorted(str(path) for path in folder.parent.rglob("*"))


@pytest.mark.parametrize("name", HOSTILE)
def test_an_encoder_is_data(name, guarded):
    code, change = HOSTILE[name]
    change(guarded)
    before = files_of(guarded)
    with pytest.raises(NunerError) as caught:
        load_encoder(guarded)
    assert caught.value.code == code, str(caught.value)
    assert len(str(caught.value)) < 2000
    assert files_of(guarded) == before


def test_what_is_wrong_with_a_tokenizer_is_said(guarded):
    """transformers asks for a package of another kind of tokenizer instead."""
    put(TOKENIZER, padding_side="up")(guarded)
    with pytest.raises(NunerError, match="N022.*current value: up"):
        load_encoder(guarded)


@pytest.mark.parametrize("name", ["kernel", "auto-map-dict", "pickle", "nan", "width"])
def test_a_concept_encoder_is_data(name, guarded):
    code, change = HOSTILE[name]
    change(guarded / "concept_encoder")
    before = files_of(guarded)
    with pytest.raises(NunerError) as caught:
        LabelVectors(guarded)
    assert caught.value.code == code, str(caught.value)
    assert files_of(guarded) == before


INFO = "nuner.json"
VECTORS = "concept_encoder/background.safetensors"


def background(change):
    return weigh(change, VECTORS)


METADATA = {
    **{
        f"{key}-{i}": ("N303", put(INFO, **{key: value}))
        for key, values in {
            "format": [None, "1", 1.5, [1], True, 0],
            "pooling": ["max", None, ["mean"], {}],
            "template": [
                *("{name:>1000000000}", "{name!r} {description}", "{name}", 5, None),
                *("{name.__class__} {description}", "{name} {description} {x}"),
                *("{name} {description}" * 1000, "{name} {description} {", "{0} {1}"),
                "{name} {description:{name}}",
            ],
            "max_concept_length": [0, -1, 10**12, "16", None, 16.0, True, 65, 2],
            "scale": [NAN, INFINITE, "1", None, [1.0], 1e300],
            "bias": [NAN, -INFINITE, "1", None, {}],
            "frozen_layers": [-1, "0", None, 0.5],
            "hidden_layers": [
                [],
                "x",
                None,
                [0],
                [-2],
                [-1, "x"],
                [-1, -1],
                [[-1]],
                -1,
            ],
            "base": [None, 5, ["x"]],
            "data": [None, [], "x"],
            "settings": [None, [], "x"],
            "versions": [None, [], "x"],
        }.items()
        for i, value in enumerate(values)
    },
    "newer": ("N302", put(INFO, format=2)),
    "list": ("N303", write(INFO, "[]")),
    "null": ("N303", write(INFO, "null")),
    "cut": ("N303", write(INFO, '{"format": 1')),
    "deep": ("N303", write(INFO, DEEP)),
    "large": ("N303", sparse(INFO, 1 << 40)),
    "gone": ("N304", lambda folder: shutil.rmtree(folder / "concept_encoder")),
    "background": ("N015", lambda folder: (folder / VECTORS).unlink()),
    "background-nan": ("N015", background(lambda x: x["vectors"].fill_(NAN))),
    "background-width": (
        "N015",
        background(lambda x: x.update(vectors=torch.zeros(2, 31))),
    ),
    "background-flat": ("N015", background(lambda x: x.update(vectors=torch.zeros(9)))),
    "background-none": (
        "N015",
        background(lambda x: x.update(vectors=torch.zeros(0, 32))),
    ),
    "background-name": ("N015", background(lambda x: x.update(v=x.pop("vectors")))),
    "background-header": ("N015", all_bytes(VECTORS, LARGE_HEADER)),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_are_checked(name, guarded):
    code, change = METADATA[name]
    change(guarded)
    before = files_of(guarded)
    with pytest.raises(NunerError) as caught:
        LabelVectors(guarded)
    assert caught.value.code == code, str(caught.value)
    assert len(str(caught.value)) < 1000
    assert files_of(guarded) == before


def test_what_is_whole_is_read(guarded):
    """And what real configs have besides: origins, odd keys, precisions, empty keys."""
    put(
        CONFIG,
        _name_or_path="C:/models/x:y",
        torch_dtype="float16",
        _attn_implementation="sdpa",
        _attn_implementation_autoset=True,
        auto_map={},
        quantization_config=None,
        gradient_checkpointing=False,
        model_max_length=1000000000000000019884624838656,
        directionality="bidi",
        pooler_fc_size=768,
        pruned_heads={},
        id2label={"0": "O", "1": "B-PER"},
        label2id={"O": 0, "B-PER": 1, "backbone": 2, "__x__": 3},
        output_past=True,
    )(guarded)
    put(
        TOKENIZER,
        special_tokens_map_file="/elsewhere/x.json",
        name_or_path="/elsewhere/x",
        tokenizer_file=None,
        chat_template=[{"name": "../../../x", "template": "y"}],
        model_max_length=1000000000000000019884624838656,
    )(guarded)
    tokenizer, model = load_encoder(guarded)
    assert model.dtype == torch.float32
    tokenizer.save_pretrained(guarded.parent / "saved")
    assert LabelVectors(guarded).get_weights(["city"], [None])[0].shape == (1, 32)


def test_weights_of_other_forms_are_read(whole, tmp_path):
    """With a head, old names, in half precision, without a pooler, in parts."""
    folder = shutil.copytree(whole, tmp_path / "x")
    expected = load_encoder(folder)[1].state_dict()
    weights = load_file(folder / "model.safetensors")
    changed = {
        f"bert.{key}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): one.half()
        for key, one in weights.items()
        if "pooler" not in key
    } | {"cls.predictions.bias": torch.zeros(5)}
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    keys = sorted(changed)
    parts = {name: keys[i::2] for i, name in enumerate(names)}
    for name, chosen in parts.items():
        save_file({key: changed[key] for key in chosen}, folder / name)
    weight_map = {key: name for name, chosen in parts.items() for key in chosen}
    index = json.dumps({"metadata": {}, "weight_map": weight_map})
    write("model.safetensors.index.json", index)(folder)
    found = load_encoder(folder)[1].state_dict()
    assert {key for key in expected if "pooler" not in key} <= set(found)
    for key, one in found.items():
        if "pooler" not in key:
            torch.testing.assert_close(one, expected[key], atol=1e-3, rtol=1e-3)


NAMES = [
    *("package:../../x", "package:os/../..", "package:json/../../x"),
    *("package:json//etc", "package:json.tool/x", "package:antigravity.x/y"),
    *("package:", "package:/etc", "package:json/..\\x", "package:json/x\0y"),
    *("~nobody-is-called-so/x", "x" * 5000, "\0", "a/b/c/d", "../nothing/here"),
    *("hub:x/y", "../x:y", "someone/..", ""),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_that_lead_elsewhere(name, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    before = set(sys.modules)
    with pytest.raises(NunerError, match="N00[12]"):
        resolve_weights(name)
    assert not {"antigravity", "json.tool"} & (set(sys.modules) - before)


BOMBS = ["width", "layers", "positions", "vocabulary", "labels", "header", "large"]
METADATA_BOMBS = ["large", "template-0", "max_concept_length-2", "background-header"]
LIMITED = """
import resource, sys
from pathlib import Path
from spacy_nuner.errors import NunerError
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.pipeline.label_vectors import LabelVectors
load_encoder(sys.argv[1])
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (300 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for folder in sys.argv[2:]:
    try:
        (LabelVectors if "metadata" in folder else load_encoder)(folder)
    except NunerError as error:
        print(error.code)
"""


@pytest.mark.weekly
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_no_memory_is_taken_for_what_is_not_there(whole, tmp_path):
    folders, codes = [], []
    for prefix, table, names in (
        ("encoder", HOSTILE, BOMBS),
        ("metadata", METADATA, METADATA_BOMBS),
    ):
        for name in names:
            code, change = table[name]
            folders.append(shutil.copytree(whole, tmp_path / f"{prefix}-{name}"))
            change(folders[-1])
            codes.append(code)
    arguments = [str(folder) for folder in (whole, *folders)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.split() == codes, done.stderr


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner)
    ),
    max_leaves=5,
)
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("file", [CONFIG, TOKENIZER, INFO, "tokenizer.json"])
@quick
@given(data=st.data())
def test_any_value_is_an_error_or_fits(file, whole, tmp_path, data):
    folder = tmp_path / "x"
    if not folder.exists():
        shutil.copytree(whole, folder)
    content = json.loads((whole / file).read_text("utf8"))
    keys = st.sampled_from(sorted(content)) | st.text(max_size=20)
    content[data.draw(keys)] = data.draw(JSON)
    write(file, json.dumps(content))(folder)
    with contextlib.suppress(NunerError):
        (LabelVectors if file == INFO else load_encoder)(folder)


READERS = (load_encoder, read_info, load_background, ConceptEncoder.from_folder)


@quick
@given(content=st.binary(max_size=200))
def test_any_bytes_are_an_error(whole, tmp_path, content):
    folder = tmp_path / "x"
    if not folder.exists():
        shutil.copytree(whole, folder)
    for file in (CONFIG, "model.safetensors", INFO, VECTORS):
        before = (folder / file).read_bytes()
        (folder / file).write_bytes(content)
        for read in READERS:
            with contextlib.suppress(NunerError):
                read(folder)
        (folder / file).write_bytes(before)


def test_a_config_of_the_hub_is_looked_at_before_its_weights(
    whole, tmp_path, monkeypatch
):
    """The hub is a folder here; what is asked of it is recorded."""
    cache, asked = tmp_path / "cache", []

    def snapshot_download(name, *, allow_patterns, ignore_patterns):
        asked.append(allow_patterns)
        shutil.copytree(whole, cache, dirs_exist_ok=True)
        HOSTILE["kernel"][1](cache)
        return str(cache)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(NunerError, match=r"N017.*config\.json.*_attn_implementation"):
        load_encoder("someone/bert")
    assert asked == [["*.json"]]


def test_an_encoder_of_the_hub_is_looked_up_once(whole, monkeypatch):
    asked = []

    def snapshot_download(name, *, allow_patterns, ignore_patterns):
        asked.append(name)
        return str(whole)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    model = build_backbone("someone/bert")
    model.initialize()
    assert get_shim(model).hidden_layers == [-1, -2]
    # The configs, which are checked, and then the rest.
    assert len(asked) == 2


def test_the_path_of_a_folder_in_errors_is_that_of_the_file(whole, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "x"))
    HOSTILE["auto-map"][1](folder)
    with pytest.raises(NunerError, match="auto_map") as caught:
        load_encoder(folder)
    assert str(folder / CONFIG) in str(caught.value)
