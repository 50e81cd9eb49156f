"""Sentences are found by annotation or punctuation, and by lines."""

import textwrap

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_nuner.sentences import find_sentences
from spacy_nuner.tokenizers import blank

NLP = spacy.blank("en")
PROSE = (
    "The firm that Ana Lima founded in Porto moved its seat to Lisbon in the spring of "
    "2019 and has since hired some forty people. Most of them came from a rival that "
    "had closed its doors a year before, among them the baker Bob Stone of Leyton."
)


def split(doc):
    starts = [0, *find_sentences(doc), None]
    parts = [doc.text[a:b] for a, b in zip(starts, starts[1:], strict=False)]
    return [" ".join(part.split()) for part in parts]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        (" ", 1),
        ("\n\n", 1),
        (".", 1),
        ("...", 1),
        ("One sentence. ", 1),
        ("  \n One sentence.\n\n", 1),
        ("One. Two! Three? Four", 4),
        ("He said 'no.' She left.", 2),
        ("Wait... What?! Yes.", 3),
        ("Dr. Smith of St. Ives left at 5 p.m. on foot.", 1),
        ("A flat of 40 sq. ft at No. 5, e.g. this one, for 1.5 million.", 1),
        ("see www.example.org. Bye", 2),
        ("Ana Lima\nBob Stone\nEve Park", 3),
        ("- two-bed flat\n- one-bed flat", 2),
        ("one\r\ntwo\u2028three", 3),
        ("one\n\n\n \n two", 2),
        ("क्या हुआ। वह गया।", 2),
    ],
)
def test_english_rules(text, count):
    assert len(split(NLP(text))) == count


@pytest.mark.parametrize("lang", ["zh", "xx", "en"])
def test_full_width_stops_need_no_blank(lang):
    doc = blank(lang)("今天很好。他走了！「好。」他说３．５元。")
    assert split(doc) == ["今天很好。", "他走了！", "「好。」", "他说３．５元。"]


@pytest.mark.parametrize("separator", [". ", " . ", ".  ", ".) "])
def test_small_letters_begin_sentences_where_none_begins_with_a_capital(separator):
    texts = ["a bar in leyton", "who is Bob Stone there", "book a table", "bye Ana"]
    assert len(split(NLP(separator.join(texts)))) == 4
    assert len(split(NLP(separator.join(text.upper() for text in texts)))) == 4
    # Abbreviations look the same where sentences have capitals.
    assert len(split(NLP("Offers approx. every week. Ana left."))) == 2
    assert len(split(NLP("flat of 40 sq. ft at no. 5, st. ives"))) == 1


def test_a_language_without_stops_is_one_sentence_a_line():
    assert split(blank("xx")("อานาออกจากปอร์โต\nเธออยู่ลิสบอน")) == [
        "อานาออกจากปอร์โต",
        "เธออยู่ลิสบอน",
    ]


def test_annotation_comes_before_punctuation():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer", config={"punct_chars": [";"]})
    assert split(nlp("One. Two; three")) == ["One. Two;", "three"]
    words = ["One", ".", "Two"]
    assert split(Doc(nlp.vocab, words=words, sent_starts=[True, False, False])) == [
        "One . Two"
    ]
    # It knows no lines.
    assert split(nlp("flat in Leyton\ncat in Hackney")) == [
        "flat in Leyton",
        "cat in Hackney",
    ]


@pytest.mark.parametrize("width", [66, 72, 80, 100])
def test_prose_that_was_wrapped_is_no_list(width):
    expected = split(NLP(PROSE))
    assert len(expected) == 2
    assert split(NLP(textwrap.fill(PROSE, width))) == expected
    two = textwrap.fill(PROSE.split(". ")[0], 80)
    assert two.count("\n") == 1
    assert len(split(NLP(two))) == 1
    paragraphs = "\n\n".join([textwrap.fill(PROSE, width)] * 3)
    assert len(split(NLP(paragraphs))) == 6


def test_lines_of_a_list_are_sentences_however_long():
    lines = [
        "a cheap italian restaurant with a bar that is open late near the old harbour",
        "is there a place for kids that has parking and takes no reservations at all",
    ]
    for count in (2, 5, 30):
        assert len(split(NLP("\n".join((lines * 15)[:count])))) == count
        rows = [line.capitalize() for line in (lines * 15)[:count]]
        assert len(split(NLP("\n".join(rows)))) == count


@settings(deadline=None)
@given(st.text(alphabet="aB1 .!?。'\n\t\r\u3000)", max_size=60))
def test_starts_rise_and_begin_with_a_letter(text):
    doc = NLP(text)
    starts = find_sentences(doc)
    assert starts == sorted(set(starts))
    assert all(0 < start < len(doc.text) for start in starts)
    assert not any(doc.text[start].isspace() for start in starts)
    assert all(doc.text[:start].strip() for start in starts)


@pytest.mark.parametrize(
    ("part", "count"),
    [
        *((".", 0), ("\n", 0), (". ", 1), ("。", 1), (".)", 0), ("a\n", 200_000)),
        *((" ", 0), ("!\n\n", 200_000), ("?'", 1)),
    ],
)
def test_long_runs_take_no_longer_than_they_are(part, count):
    """A square of the length would not end."""
    doc = Doc(NLP.vocab, words=[part * 200_000, "end"])
    assert len(find_sentences(doc)) == count
