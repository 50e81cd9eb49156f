"""Configs of pre-training of any content: settings, or a numbered error."""

import configparser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.settings import (
    SECTIONS,
    Settings,
    read_config,
    resolve_settings,
)

from ..conftest import ROOT
from ..fuzzing import examples

pytestmark = pytest.mark.fuzz
SHIPPED = (ROOT / "configs" / "pretrain.cfg").read_bytes()
NAMES = [f"{name}.{key}" for name, one in SECTIONS.items() for key in one.model_fields]
NASTY = [
    *(b"[", b"]", b"=", b"\n", b"${", b"${paths.corpus}", b"${a.b}", b"}", b"@", b"%"),
    *(b"%(x)s", b":", b"null", b"NaN", b"1e999", b"-1", b"9" * 5000, b'"', b"{}"),
    *(b"[[]]", b"[training]\n", b"[a.b]\n", b"@misc", b"\xff", b"\0", b"\xef\xbb\xbf"),
    *(b"  ", b"\t", b"*", b"[training.*.x]\n", b"[DEFAULT]\n", b"\r", b"\xc2\x85"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "${a}", "${paths.corpus}", "$", "\ud83d", "\0", "@misc"])
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "@misc", "*", ""]), inner, max_size=2)
    ),
    max_leaves=5,
)


def read(path, overrides):
    try:
        settings = resolve_settings(read_config(path, overrides))
    except NunerError as error:
        assert error.code in ("N301", "N321")
    else:
        assert isinstance(settings, Settings)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("config") / "pretrain.cfg"


@examples(60)
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(NASTY)),
        min_size=1,
        max_size=4,
    )
)
def test_damaged_configs(path, edits):
    data = SHIPPED
    for where, size, put in edits:
        at = int(where * len(data))
        data = data[:at] + put + data[at + size :]
    path.write_bytes(data)
    read(path, {"paths.corpus": "corpus"})


@examples(40)
@given(
    data=st.binary(max_size=80)
    | st.text('[]=:.@${}"\n ab1', max_size=60).map(str.encode)
    | st.lists(st.sampled_from(NASTY), max_size=8).map(b"".join)
)
def test_any_bytes(path, data):
    path.write_bytes(data)
    read(path, {"paths.corpus": "corpus"})


@examples(80)
@given(
    overrides=st.dictionaries(
        st.sampled_from([*NAMES, "objective.@misc", "objective.gamma"])
        | st.text("ab.@", max_size=6),
        VALUES,
        max_size=3,
    )
)
def test_overrides_of_any_type(path, overrides):
    path.write_bytes(SHIPPED)
    read(path, {"paths.corpus": "corpus"} | overrides)


@examples(60)
@given(name=st.sampled_from(NAMES), value=VALUES)
def test_values_of_any_type(path, name, value):
    parser = configparser.RawConfigParser()
    section, _, key = name.partition(".")
    # As a hand would write it: not as JSON.
    parser.read_dict({section: {key: repr(value)}})
    with path.open("w", encoding="utf8", errors="surrogatepass") as file:
        parser.write(file)
    read(path, {})
