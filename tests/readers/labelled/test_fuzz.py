"""Random sets of each form come through; whatever else comes, there is no traceback."""

import json
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_nuner.corpus import labelled_docs
from spacy_nuner.corpus.labelled_docs import import_docs, read_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.records import Reading
from spacy_nuner.readers.sources import CONTAINERS, FORMATS

from ...conftest import one_in
from ...fuzzing import examples
from .truth import FORMS, NLP, TRUTH, Sentence, expected, found_in

pytestmark = pytest.mark.fuzz
FEW = examples(30)


@pytest.fixture(autouse=True, scope="module")
def one_tokenizer():
    """Made once: a new one takes longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled_docs, "blank", lambda lang: NLP)
        yield


# Letters of several scripts, some beyond 16 bits.
WORDS = st.text("abzÉßłждω中文字एक𝔞𝕫🦊😀", min_size=1, max_size=6).filter(
    lambda word: len(NLP(word)) == 1
)
NAMES = st.sampled_from(["PER", "LOC", "a-b", "Ä", "x_y", "B"])


@st.composite
def sentences(draw):
    words = draw(st.lists(WORDS, min_size=1, max_size=8, unique=True))
    text, starts = "", []
    for word in words:
        starts.append(len(text))
        text += word + " "
    spans, first = [], 0
    while first < len(words):
        end = draw(st.integers(first, min(first + 3, len(words))))
        if end > first:
            last = starts[end - 1] + len(words[end - 1])
            spans.append((starts[first], last, draw(NAMES)))
        first = max(end, first + 1)
    return Sentence(text[:-1], tuple(spans))


def read(content, name, **options):
    """Import a file, whatever comes of it; its docs, where it can be read as a set."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        path.write_bytes(content)
        # What is left out is all in the report.
        for output in ("out.spacy", "out.jsonl"):
            try:
                report = import_docs(path, Path(folder) / "o" / output, **options)
            except NunerError:
                continue
            records = report["records"]
            lost = records["quarantined"].values(), records["dropped"].values()
            assert records["read"] == records["written"] + sum(map(sum, lost))
        try:
            return read_docs(path)
        except NunerError:
            return None


def as_bytes(content):
    return content if isinstance(content, bytes) else content.encode("utf8")


@pytest.mark.parametrize("form", one_in(2, FORMS))
@FEW
@given(truth=st.lists(sentences(), min_size=1, max_size=3))
def test_random_sets_come_through(form, truth):
    write, name, has_text = FORMS[form]
    docs = read(as_bytes(write(truth)), name)
    if not any(one.spans for one in truth):
        return
    assert found_in(docs) == expected(truth, has_text=has_text)


SOME = TRUTH[:6]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**30, 1.5, float("nan"), "", " ", "\ud83d", "a\0b", "O", "B-X"]),
    st.text(max_size=4),
    st.sampled_from([[], {}, [[]], [None], {"start": 0}, [0, 1], [0, 3, "X"]]),
)


@st.composite
def mutants(draw, value):
    """A value of JSON in which one value is exchanged, taken out or repeated."""
    if draw(st.integers(0, 3)) == 0 or not isinstance(value, list | dict) or not value:
        return draw(ODD)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        what = draw(st.integers(0, 9))
        inside = [] if what == 0 else [draw(mutants(value[at]))]
        return [*value[:at], *inside, *value[at + (what != 1) :]]
    key = draw(st.sampled_from(sorted(value)))
    rest = {name: value[name] for name in value if name != key}
    return (
        rest
        if draw(st.integers(0, 9)) == 0
        else {**rest, key: draw(mutants(value[key]))}
    )


def is_json(form):
    name = FORMS[form][1]
    return name.endswith(("json", "jsonl"))


@pytest.mark.parametrize("form", one_in(2, filter(is_json, FORMS)))
@FEW
@given(data=st.data(), fix=st.booleans())
def test_odd_values_are_reported(form, data, fix):
    write, name, _ = FORMS[form]
    content = write(SOME)
    if name == "a.json":
        content = json.dumps(data.draw(mutants(json.loads(content))))
    else:
        rows = [json.loads(line) for line in content.splitlines()]
        at = data.draw(st.integers(0, len(rows) - 1))
        rows[at] = data.draw(mutants(rows[at]))
        content = "".join(json.dumps(row) + "\n" for row in rows)
    how = data.draw(st.sampled_from(["first", "majority", "union", "u1"]))
    reading = Reading(annotators=how, predictions=fix, fix_offsets=fix)
    mode = "strict" if fix else "expand"
    read(content.encode("utf8"), name, reading=reading, alignment_mode=mode)


@pytest.mark.parametrize("form", one_in(2, FORMS))
@FEW
@given(data=st.data())
def test_damaged_bytes_are_reported(form, data):
    write, name, _ = FORMS[form]
    content = bytearray(as_bytes(write(SOME)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        gone = data.draw(st.integers(0, 3))
        content[at : at + gone] = data.draw(st.binary(max_size=3))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    read(bytes(content), name)


@pytest.mark.parametrize("suffix", [*FORMATS, ".json", ".txt", ".jsonl.gz", ""])
@FEW
@given(content=st.binary(max_size=60) | st.text('{}[]",:|\t\n -BIO1a', max_size=40))
def test_random_bytes_are_reported(suffix, content):
    read(as_bytes(content), f"a{suffix}")


@pytest.mark.parametrize("form", CONTAINERS)
@FEW
@given(content=st.binary(max_size=60) | st.text('{}[]",:|\t\n -BIO1a', max_size=40))
def test_random_bytes_by_a_name(form, content):
    read(as_bytes(content), "a.dat", form=form)


@FEW
@given(
    annotations=st.binary(max_size=40)
    | st.text("T1\tA 0;5\nR#", max_size=40)
    | st.from_regex(r"(T1\tA \d \d(;\d \d\d?)?\t[a-d ]{0,5}\n){1,3}", fullmatch=True),
    text=st.binary(max_size=20) | st.text("ab c\n🦊", max_size=20),
)
def test_brat_of_any_bytes(annotations, text):
    with tempfile.TemporaryDirectory() as folder:
        brat = Path(folder, "brat")
        brat.mkdir()
        (brat / "a.ann").write_bytes(as_bytes(annotations))
        (brat / "a.txt").write_bytes(as_bytes(text))
        for output in ("o.spacy", "p.jsonl"):
            try:
                import_docs(brat, Path(folder, output))
            except NunerError as error:
                assert error.code == "N102"
