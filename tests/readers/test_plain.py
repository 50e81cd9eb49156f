"""The short way through an answer gives what the long one does."""

import json
import random

import pytest

from spacy_nuner.corpus.plain import read_plain_answer
from spacy_nuner.readers.answers import parse_answer
from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.records import Entity
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources

TEXT = "1. Ada's “Notes”, - and 3 of 4 'entity' notes: see [7] **now** 2.5 km"


def check(answer, text):
    """RETURNS (bool): Whether the answer is plain; if so both agree."""
    plain = read_plain_answer(answer, text)
    if plain is None:
        return False
    parsed = parse_answer(answer, text=text)
    assert plain == [Entity(*item) for item in parsed.items]
    assert parsed.bad == []
    return True


@pytest.mark.parametrize(
    ("answer", "is_plain"),
    [
        ("Ada <> person", True),
        ("Ada <> person <> a human\nNotes <> book", True),
        ("  Ada   <>   person  <>  a human  ", True),
        ("ada <> person <> ", False),
        ("nobody <> person", True),
        ("3 of 4 <> share", True),
        ("1. Ada <> person\n2. Notes <> book", False),
        ("3. Ada <> person", False),
        ("1. Ada's <> person", True),
        ("[7] <> reference", True),
        ("**now** <> time", True),
        ("**Ada** <> person", False),
        ("- Ada <> person", False),
        ("“Notes” <> book", True),
        ('"Notes" <> book', False),
        ("=== <> ===", False),
        ("Entity <> Concept\nAda <> person", False),
        ("Text <> Concept", False),
        ("Ada <> person\n", False),
        ("", False),
        ("Ada", False),
        ("Ada <> person <> x <> y", False),
        ("Ada<> person", False),
        ("Ada <>person", False),
        ("Ada <> person<> x", False),
        ("Ada -|- person", False),
        ("Ada <> person -|- x", False),
        (" <> person", False),
        ("Ada <>  <> x", False),
        ("```\nAda <> person\n```", False),
        ("Ada\t<> person", False),
        ("Ada\u00a0<> person", False),
        ("Ada <> person\r\nNotes <> book", True),
        ("Ada <> person:", True),
    ],
)
def test_both_ways_agree(answer, is_plain):
    assert check(answer, TEXT) == is_plain


def test_a_text_with_a_separator_is_not_plain():
    assert not check("Ada <> person", "Ada <> Bo")


def test_both_ways_agree_on_the_shipped_annotations(assets):
    answers = [
        (row["answer"], row["text"])
        for path in sorted((assets / "annotations").glob("*.jsonl"))
        for row in map(json.loads, path.read_text(encoding="utf8").splitlines())
    ]
    plain = sum(check(*pair) for pair in answers)
    assert plain > 0.9 * len(answers)


def test_both_ways_agree_on_the_published_sample(data):
    (source,) = find_sources([data / "nuner-sample" / "nuner-sample-1k.csv"])
    records = []
    for row in read_rows(source):
        text = row.cells[0]
        if not text.startswith("Uz : ? ? ?"):
            records.append((read_record(row).answer, text))
    plain = sum(check(*pair) for pair in records)
    assert plain > 0.9 * len(records)


def test_both_ways_agree_on_anything():
    pieces = [" <> ", " <> ", " <> ", "<>", "-|-", " ", "\n", "\t", "Ada", "notes", "7"]
    pieces += ["1. ", "2) ", "- ", "• ", '"', "'", "**", "[", "]", ":", "=", "|", "```"]
    pieces += ["Entity", "Concept", "Text", "person", "entity concept", "\u00a0"]
    rng = random.Random(0)
    plain = sum(
        check("".join(rng.choices(pieces, k=rng.randint(1, 9))), TEXT)
        for _ in range(30_000)
    )
    assert plain > 300
