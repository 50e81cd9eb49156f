"""What a pipeline can do wrong, to a row, to all of them, or to the machine."""

import datetime
import itertools
import json
import weakref
from decimal import Decimal

import pytest
import torch
from spacy.language import Language
from spacy.tokens import Span, SpanGroup

from spacy_nuner.apply import tagger as tagging
from spacy_nuner.apply.tagger import (
    Tagger,
    TagSettings,
    hash_pipeline,
    make_id,
)
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.texts import TextRow
from spacy_nuner.tokenizers import LONGEST, InParts

ROWS = [TextRow("a.jsonl", n, f"Room {n} in Porto.", 20) for n in range(1, 31)]

NUMBERS = itertools.count()


@pytest.fixture
def make(pipeline):
    """A tagger with a component more."""

    def add(component, form="jsonl", max_length=None):
        name = str(pipeline)
        tagger = Tagger(TagSettings(name, hash_pipeline(name), form))
        # spaCy takes a function of the same name for the one that it has.
        name = f"tests_more_{next(NUMBERS)}"
        Language.component(name, func=component)
        tagger.nlp.add_pipe(name)
        if max_length is not None:
            tagger.nlp.max_length = max_length
        return tagger

    return add


def fail_on(word, error):
    def component(doc):
        if word in doc.text:
            raise error
        return doc

    return component


def read_failed(tagged):
    return [json.loads(line) for line in tagged.failed.decode().splitlines()]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no more"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_a_failure_of_the_machine_is_not_that_of_a_row(make, error):
    tagger = make(fail_on("Room 17 ", error))
    with pytest.raises(NunerError, match=r"N658.*a.jsonl:17.*" + str(error)[:10]):
        tagger.tag(ROWS)
    # What says such words and is none.
    said = make(fail_on("Room 17 ", ValueError("CUDA error: said a text")))
    assert said.tag(ROWS).counts.failed == {"the pipeline failed": 1}


def test_memory_that_is_enough_for_fewer_texts_at_once(make):
    tagger = make(lambda doc: doc)
    pipe = tagger.nlp.pipe

    def limited(texts):
        if len(texts) > 4:
            raise MemoryError
        return pipe(texts)

    tagger.nlp.pipe = limited
    assert tagger.tag(ROWS).counts.tagged == len(ROWS)


def test_a_pipeline_that_fails_on_all_rows_ends_the_run(make):
    tagger = make(fail_on("Porto", ValueError("not initialized")))
    with pytest.raises(NunerError, match=r"N659.*all 30 .*ValueError: not initialized"):
        tagger.tag(ROWS)
    # So few may all be odd ones.
    counts = tagger.tag(ROWS[:3]).counts
    assert counts.failed == {"the pipeline failed": 3}
    # Rows without a text say nothing of it.
    bad = [TextRow("a.jsonl", 1, "", 3, problem="not JSON")] * 30
    assert tagger.tag(bad).counts.failed == {"not JSON": 30}


def test_no_more_docs_are_held_than_are_tagged_at_once(make, monkeypatch):
    monkeypatch.setattr(tagging, "AT_ONCE", 100)
    alive, most = weakref.WeakSet(), 0

    class Vectors:
        pass

    def component(doc):
        nonlocal most
        doc.user_data["vectors"] = vectors = Vectors()
        alive.add(vectors)
        most = max(most, len(alive))
        return doc

    for form in ("jsonl", "parquet", "docbin"):
        most = 0
        tagged = make(component, form).tag(ROWS)
        assert tagged.counts.tagged == len(ROWS)
        assert 4 <= most <= 14
    # Nor are those of the pieces of one text.
    most = 0
    long = TextRow("a.jsonl", 1, "In Porto. " * 100, 1000)
    tagged = make(component, max_length=50).tag([long])
    assert tagged.counts.entities == {"CITY": 100} and most <= 14


def add_odd_group(doc):
    """What can't be saved, and what can't be joined."""
    spans = [Span(doc, 0, 0, "NONE")] if "empty" in doc.text else []
    attrs = {"odd": object()} if "odd" in doc.text else {}
    doc.spans["more"] = SpanGroup(doc, spans=spans, attrs=attrs)
    if "category" in doc.text:
        doc.cats["odd"] = object()
    return doc


@pytest.mark.parametrize(
    ("form", "text", "error"),
    [
        ("docbin", "An odd one in Porto.", "TypeError"),
        ("docbin", "An odd category in Porto.", "TypeError"),
        ("docbin", "A category in Porto.", "TypeError"),
        ("jsonl", "An empty one in Porto, " * 5, "ValueError: [E873]"),
    ],
)
def test_a_row_that_can_not_be_written_fails_alone(make, form, text, error):
    odd = TextRow("a.jsonl", 31, text, 20)
    tagger = make(add_odd_group, form, max_length=60)
    tagged = tagger.tag([*ROWS[:2], odd, *ROWS[2:]])
    assert tagged.data == tagger.tag(ROWS).data
    assert tagged.counts.tagged == 30 and tagged.counts.entities == {"CITY": 30}
    (failed,) = read_failed(tagged)
    assert failed["row"] == 31 and failed["text"] == text
    assert failed["detail"].startswith(error)


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({"at": datetime.date(2024, 1, 2)}, '{"at": "2024-01-02"}'),
        ([Decimal("1.5"), b"x"], '["1.5", "b\'x\'"]'),
        (b"x", "b'x'"),
        ({1: 2, "a": 3}, "a.jsonl:7"),
        (None, "a.jsonl:7"),
    ],
)
def test_ids_of_any_type(found, name):
    assert make_id(TextRow("a.jsonl", 7, "", 0, {"id": found}), "id") == name


def test_long_stretches_without_a_blank_go_through_in_parts(make):
    """spaCy's tokenizer takes a minute for 20,000 brackets, and a day for more."""
    tagger = make(lambda doc: doc)
    seen = []
    inner = tagger.nlp.tokenizer._tokenize
    tagger.nlp.tokenizer._tokenize = lambda text: seen.append(text) or inner(text)
    text = f"In Porto {'(' * 20_000} and Porto"
    tagged = tagger.tag([TextRow("a.jsonl", 1, text, len(text))])
    assert tagged.counts.entities == {"CITY": 2}
    assert max(len(word) for part in seen for word in part.split()) == LONGEST
    # A tokenizer that is not spaCy's may have no such fault, and needs whole sentences.
    other = Tagger(TagSettings("blank:zh", hash_pipeline("blank:zh")))
    assert not isinstance(other.nlp.tokenizer, InParts)
