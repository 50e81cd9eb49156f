"""Where entities stand: each step, each setting, and text that shifts when folded."""

import pytest
import spacy

from spacy_nuner.corpus.align import (
    BLANK,
    BOUNDARIES,
    GIVEN,
    IGNORING_CASE,
    IGNORING_FORM,
    INSIDE,
    MAX_SPANS,
    NOT_IN_TEXT,
    TOO_MANY,
    TOO_OFTEN,
    align,
)
from spacy_nuner.readers.labelled.offsets import WRONG_OFFSETS
from spacy_nuner.readers.records import Entity


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def found(nlp, text, *entities, **settings):
    doc = nlp.make_doc(text)
    given = [one if isinstance(one, Entity) else Entity(one, "x") for one in entities]
    matches = align(doc, given, **settings)
    return [([doc[a:b].text for a, b in match.spans], match.how) for match in matches]


@pytest.mark.parametrize(
    ("text", "entity", "spans", "how"),
    [
        # At token boundaries before inside tokens: not the art of the party.
        ("The party is about art.", "art", ["art"], BOUNDARIES),
        ("The party is loud.", "art", ["party"], INSIDE),
        ("The Party is loud.", "ART", ["Party"], IGNORING_CASE),
        ("ART and art", "art", ["art"], BOUNDARIES),
        # As a word in another case before a part of one.
        ("Art was shown at the party.", "art", ["Art"], IGNORING_CASE),
        ("The IT team sat with it.", "team SAT with", ["team sat with"], IGNORING_CASE),
        ("Her Art: two parties of Arts.", "Art", ["Art"], BOUNDARIES),
        ("Runners ran with a runner's knee.", "Runner", ["runner"], IGNORING_CASE),
        ("Art or aRT", "ART", ["Art", "aRT"], IGNORING_CASE),
        # The start and the end of the text, the whole text.
        ("Lisbon is big", "Lisbon", ["Lisbon"], BOUNDARIES),
        ("I like Lisbon", "Lisbon", ["Lisbon"], BOUNDARIES),
        ("Lisbon", "Lisbon", ["Lisbon"], BOUNDARIES),
        ("Lisbon", " Lisbon\n", ["Lisbon"], BOUNDARIES),
        # Longer than the text, blank, beside it.
        ("Lisbon", "Lisbon, Portugal", [], NOT_IN_TEXT),
        ("Lisbon", "  ", [], NOT_IN_TEXT),
        ("Lisbon", "Porto", [], NOT_IN_TEXT),
        ("", "Porto", [], NOT_IN_TEXT),
        # Words that overlap themselves are taken from the left.
        ("aaa", "aa", ["aaa"], INSIDE),
        ("aaa aaaa", "aa", ["aaa", "aaaa"], INSIDE),
        ("aa aa aa", "aa aa", ["aa aa"], BOUNDARIES),
        ("ha ha ha ha", "ha ha", ["ha ha", "ha ha"], BOUNDARIES),
        # Regular expression signs are plain characters.
        ("I know C++ (a bit).", "C++", ["C++"], BOUNDARIES),
        ("I know C++ (a bit).", "(a bit)", ["(a bit)"], BOUNDARIES),
        # Emoji, one and several code points.
        ("Great 🎉 party 👩‍💻 now", "party", ["party"], BOUNDARIES),
        ("Great 🎉 party", "🎉", ["🎉"], BOUNDARIES),
        ("😀 İ 😀 Party", "PARTY", ["Party"], IGNORING_CASE),
        # Case folding that makes text longer must not shift what follows.
        ("Die Straße nach Köln", "köln", ["Köln"], IGNORING_CASE),
        ("Die Straße nach Köln", "STRASSE", ["Straße"], IGNORING_CASE),
        ("Die GROẞE Straße", "große strasse", ["GROẞE Straße"], IGNORING_CASE),
        ("Aus İstanbul nach Ankara", "ANKARA", ["Ankara"], IGNORING_CASE),
        ("Aus İstanbul nach Ankara", "i̇stanbul", ["İstanbul"], IGNORING_CASE),
        ("ŉﬁ İİİ city", "CITY", ["city"], IGNORING_CASE),
        # Half of what a character is folded to is no match.
        ("ß", "S", [], NOT_IN_TEXT),
        # Combining characters: as written, then composed against decomposed.
        ("un cafe\u0301 noir", "cafe\u0301", ["cafe\u0301"], BOUNDARIES),
        ("un cafe\u0301 noir", "caf\u00e9", ["cafe\u0301"], IGNORING_FORM),
        ("un caf\u00e9 noir", "cafe\u0301", ["caf\u00e9"], IGNORING_FORM),
        ("un caf\u00e9 noir", "cafe", [], NOT_IN_TEXT),
        # Blanks: not breaking, doubled, within numbers and addresses.
        ("on 1\u00a0September", "1 September", ["1\u00a0September"], IGNORING_FORM),
        ("Martin  Becker", "Martin Becker", ["Martin  Becker"], IGNORING_FORM),
        ("only $4. 95 per", "$4.95", ["$4. 95"], IGNORING_FORM),
        ("See weth. io now", "weth.io", ["weth. io"], IGNORING_FORM),
        ("\u3000Lisbon\u3000", "Lisbon", ["Lisbon"], BOUNDARIES),
        # Without blanks, words are found at token boundaries only.
        ("We met thereinafter", "here in", [], NOT_IN_TEXT),
        # Quotes and dashes.
        ("your home’s size", "home's size", ["home’s size"], IGNORING_FORM),
        ("the “Heat” cut", '"Heat" cut', ["“Heat” cut"], IGNORING_FORM),
        ("1939–1945 war", "1939-1945", ["1939–1945"], IGNORING_FORM),
        # White space and lines in the text itself.
        ("one\ntwo\n\nthree", "three", ["three"], BOUNDARIES),
        # Tokens are taken whole.
        ("He was born on Jan.", "Jan", ["Jan."], INSIDE),
        (
            "several micro influencers",
            "micro influencer",
            ["micro influencers"],
            INSIDE,
        ),
    ],
)
def test_steps(nlp, text, entity, spans, how):
    assert found(nlp, text, entity) == [(spans, how)]


def test_case_can_be_minded(nlp):
    text = "The Party is on 1\u00a0September."
    entities = ["Party", "party", "1 September"]
    hows = [how for _, how in found(nlp, text, *entities, ignore_case=False)]
    assert hows == [BOUNDARIES, NOT_IN_TEXT, NOT_IN_TEXT]


def test_occurrences(nlp):
    text = "Rust the game, Rust the language and rust."

    def starts(occurrences, *entities):
        doc = nlp.make_doc(text)
        given = [Entity(one, "x") for one in entities]
        matches = align(doc, given, occurrences=occurrences)
        return [[doc[a].idx for a, _ in match.spans] for match in matches]

    assert starts("all", "Rust", "Rust") == [[0, 15], [0, 15]]
    assert starts("first", "Rust", "Rust") == [[0], [0]]
    assert starts("in_order", "Rust", "Rust") == [[0], [15]]
    assert starts("in_order", "game", "Rust") == [[9], [15]]
    # After the last one it begins again with what is free, then with the first.
    assert starts("in_order", "language", "Rust", "Rust") == [[24], [0], [15]]
    assert starts("in_order", "Rust", "Rust", "Rust") == [[0], [15], [0]]


def test_standing_more_than_once_is_told(nlp):
    doc = nlp.make_doc("Rust and Rust and Go")
    for occurrences in ("all", "first", "in_order"):
        entities = [Entity("Rust", "x"), Entity("Go", "x")]
        matches = align(doc, entities, occurrences=occurrences)
        assert [match.several for match in matches] == [True, False]


def test_entities_may_overlap(nlp):
    text = "the Joanine Library of the University of Coimbra"
    entities = ["Joanine Library", "Library", "University of Coimbra", "Coimbra"]
    for occurrences in ("all", "in_order"):
        spans = found(nlp, text, *entities, occurrences=occurrences)
        assert spans == [([entity], BOUNDARIES) for entity in entities]


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        # The second one is meant, and the setting for occurrences does not matter.
        (Entity("Rust", "x", None, 9, 13), (["Rust"], GIVEN)),
        (Entity("Rus", "x", None, 9, 12), (["Rust"], GIVEN)),
        (Entity(" Rust ", "x", None, 8, 14), (["Rust"], GIVEN)),
        (Entity("Rust", "x", None, 10, 14), ([], WRONG_OFFSETS)),
        (Entity("Rust", "x", None, 9, 99), ([], WRONG_OFFSETS)),
        (Entity("rust", "x", None, 9, 13), ([], WRONG_OFFSETS)),
        (Entity("Rust", "x", None, -8, -4), ([], WRONG_OFFSETS)),
        (Entity("", "x", None, 3, 3), ([], WRONG_OFFSETS)),
    ],
)
def test_given_offsets_are_checked(nlp, entity, expected):
    doc = nlp.make_doc("Rust and Rust today")
    match = align(doc, [entity])[0]
    assert ([doc[a:b].text for a, b in match.spans], match.how) == expected
    assert all(a == 2 for a, _ in match.spans)


def test_folding_never_shifts_a_span(nlp):
    """Words after any mix of characters that fold to more are found at their place."""
    growing = [chr(i) for i in range(0x20, 0x20000) if len(chr(i).casefold()) > 1]
    assert len(growing) > 100
    for size in (1, 7, len(growing)):
        text = " ".join(growing[:size]) + " Target"
        assert found(nlp, text, "TARGET") == [(["Target"], IGNORING_CASE)]


def test_the_text_may_be_handed_in(nlp):
    doc = nlp.make_doc("In Lisbon.")
    entity = Entity("Lisbon", "city")
    assert align(doc, [entity], text=doc.text) == align(doc, [entity])


@pytest.mark.parametrize("lang", ["xx", "de", "zh"])
def test_other_tokenizers(lang):
    nlp = spacy.blank(lang)
    text = "我们在北京看到 Straße."
    assert nlp.make_doc(text).text == text
    spans = found(nlp, text, "STRASSE", "北京")
    assert [bool(words) for words, _ in spans] == [True, True]


@pytest.mark.parametrize(
    ("text", "entity", "how"),
    [
        ("Ana  Lima", Entity("  ", "x", None, 3, 5), BLANK),
        ("Ana Lima", Entity(" ", "x", None, 3, 4), BLANK),
        ("Ana \u200b Lima", Entity("\u200b", "x", None, 4, 5), BLANK),
        ("Ana\nLima", Entity("\n", "x", None, 3, 4), BLANK),
        # An end from behind, as Python counts.
        ("Ana Lima", Entity("Ana Lim", "x", None, 0, -1), WRONG_OFFSETS),
        ("Ana Lima", Entity("", "x", None, 0, 0), WRONG_OFFSETS),
        ("Ana Lima", Entity("", "x", None, 8, 8), WRONG_OFFSETS),
        ("Ana Lima", Entity("", "x", None, 5, 3), WRONG_OFFSETS),
        ("Ana Lima", Entity("Lima", "x", None, 4, 1 << 70), WRONG_OFFSETS),
        ("Ana Lima", Entity("Lima", "x", None, -(1 << 70), 8), WRONG_OFFSETS),
        ("Ana \u200b Lima", Entity("\u200b", "x"), NOT_IN_TEXT),
        ("Ana \u00ad Lima", Entity("\u00ad\u200d", "x"), NOT_IN_TEXT),
        ("Ana Lima", Entity("\u3164", "x"), NOT_IN_TEXT),
    ],
)
def test_no_span_without_a_word(nlp, text, entity, how):
    assert found(nlp, text, entity) == [([], how)]


@pytest.mark.parametrize("lang", ["en", "xx", "zh", "th"])
def test_every_span_has_tokens(lang):
    nlp = spacy.blank("xx" if lang == "th" else lang)
    text = " \u200b Ana\u200d \u00ad\u00adLima\u200b\u200b.\n\n \ufeffX "
    doc = nlp.make_doc(text)
    cuts = range(-2, len(text) + 3)
    for start in cuts:
        for end in cuts:
            given = Entity(text[start:end], "x", None, start, end)
            for entity in (given, given._replace(start=None, end=None)):
                for first, last in align(doc, [entity])[0].spans:
                    assert 0 <= first < last <= len(doc)
                    assert doc[first:last].text.strip(" \n\u200b\u00ad\ufeff")


def test_what_stands_too_often_is_told(nlp):
    doc = nlp.make_doc("a b " * MAX_SPANS + "c")
    words = ["a", "b", "a b", "c", "A", "b a", "a"]
    matches = align(doc, [Entity(one, "x") for one in words])
    # What is rare is found though the first one used the budget of the text up.
    often, rest = BOUNDARIES, TOO_OFTEN
    hows = [match.how for match in matches]
    assert hows == [often, rest, rest, BOUNDARIES, rest, rest, often]
    assert sum(len(match.spans) for match in matches[:-1]) == MAX_SPANS + 1


@pytest.mark.parametrize("occurrences", ["all", "first", "in_order"])
def test_one_letter_repeated_takes_bounded_memory(nlp, occurrences):
    # Each length anew: without a bound there were 15 million spans.
    doc = nlp.make_doc("a " * 30_000)
    words = ["a " * size for size in range(1, 500)] * 20
    matches = align(doc, [Entity(one, "x") for one in words], occurrences=occurrences)
    assert len({id(match.spans) for match in matches if len(match.spans) > 1}) < 10
    # One token without end.
    doc = nlp.make_doc("a" * 119_000)
    words = ["a" * size for size in range(1, 500)]
    matches = align(doc, [Entity(one, "x") for one in words], occurrences=occurrences)
    assert {match.how for match in matches} == {TOO_OFTEN}


def test_the_next_occurrence_is_found_without_a_search(nlp):
    doc = nlp.make_doc("a b " * 4000)
    matches = align(doc, [Entity("a", "x")] * 4100, occurrences="in_order")
    starts = [match.spans[0][0] for match in matches]
    # Then all are taken, and it begins again.
    assert starts[:4000] == list(range(0, 8000, 2))
    assert starts[4000:] == [0] + list(range(2, 200, 2))


def test_no_more_is_searched_than_takes_seconds(nlp, monkeypatch):
    """Each entity goes through the text: twice the input took four times as long."""
    monkeypatch.setattr("spacy_nuner.corpus.align.MAX_SEARCHED", 50)
    doc = nlp.make_doc("Ana left")
    words = ["Ana", "left", "Ana", "nobody", "Lisbon", "Ana"]
    hows = [match.how for match in align(doc, [Entity(one, "x") for one in words])]
    # Eight characters a search; "nobody" took three, the last one is known.
    rest = [NOT_IN_TEXT, TOO_MANY, BOUNDARIES]
    assert hows == [BOUNDARIES, BOUNDARIES, BOUNDARIES, *rest]
