"""Labels of any form: labels, or a numbered error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_nuner.errors import NunerError
from spacy_nuner.pipeline.labels import check_config, parse_labels, read_labels

from ..fuzzing import examples

pytestmark = pytest.mark.fuzz
WORDS = st.sampled_from(
    ["person", "", " ", "\ud83d", "\0", "a:b", "a=b", "${a}", "@x", "#", "null", "1"]
) | st.text(max_size=5)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS
KEYS = st.sampled_from(["label", "name", "description", "other"]) | WORDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


@examples(150)
@given(value=VALUES)
def test_any_value(value):
    try:
        labels = parse_labels(value, source="'it'")
    except NunerError as error:
        assert error.code in ("N501", "N511", "N053")
        return
    for label, known in labels.items():
        assert label.strip()
        assert known.get_words(label) is not None
    # What was read is read again.
    again = {label: known.to_setting() for label, known in labels.items()}
    assert parse_labels(again, source="'it'") == labels


@examples(60)
@given(value=VALUES)
def test_any_value_in_a_config(value):
    try:
        check_config("it", "labels", value)
    except NunerError as error:
        assert error.code == "N512"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("labels") / "labels.json"


@examples(60)
@given(
    data=st.binary(max_size=40)
    | st.text('[]{}",:labelnm', max_size=40).map(str.encode)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([b"[" * 5000, b'{"a":' * 5000, b"9" * 5000, b"\xff\xfe[\0]\0"])
)
def test_any_file(path, data):
    path.write_bytes(data)
    try:
        read_labels(path)
    except NunerError as error:
        assert error.code in ("N501", "N511", "N053")
