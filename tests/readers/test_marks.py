"""Marks that models put around entities: off where the text settles it, else kept."""

import pytest

from spacy_nuner.corpus.row_to_doc import ConvertSettings, process
from spacy_nuner.readers.answers import Answer, Sentence, judge, parse_answer, to_record
from spacy_nuner.readers.records import Row, Source
from spacy_nuner.tokenizers import make_tokenizer

TEXT = "Ana Lima flew from Lisbon to AT&T on 3 May."
# Each says that Lisbon is a city, and "x" of it.
LINES = """\
1. **"Lisbon"** <> city <> x
● Lisbon <> city <> x
➤ Lisbon <> city <> x
✅ Lisbon <> city <> x
👉 **Lisbon** <> city <> x
・Lisbon <> city <> x
> Lisbon <> city <> x
* *Lisbon* <> *city* <> *x*
1、Lisbon <> city <> x
1．Lisbon <> city <> x
1.Lisbon <> city <> x
1 - Lisbon <> city <> x
#1 Lisbon <> city <> x
(a) Lisbon <> city <> x
a) Lisbon <> city <> x
ii. Lisbon <> city <> x
[1] Lisbon <> city <> x
**1.** Lisbon <> city <> x
（1）Lisbon <> city <> x
一、《Lisbon》 <> city <> x
① Lisbon <> city <> x
1️⃣ Lisbon <> city <> x
١. Lisbon <> city <> x
१) Lisbon <> city <> x
| Lisbon <> city <> x |
Lisbon <> city <> x |
| Lisbon | city | x |
| 1 | **Lisbon** | city | x |
Lisbon, <> city <> x
Lisbon; <> city <> x
Lisbon: <> city <> x
Lisbon... <> city <> x
Lisbon。 <> city <> x
\ufeffLisbon <> city <> x
Lisbon\u200b <> city\u200b <> x
Lis\u00adbon <> ci\u00adty <> x
\u200eLisbon\u200f <> city <> x
Lisbon\u00a0<>\u00a0city\u00a0<>\u00a0x
Entity: Lisbon <> Concept: city <> Description: x
ENTITY: LISBON <> CONCEPT: CITY <> DESCRIPTION: x
**Entity:** Lisbon <> **Concept:** city <> **Description:** x
- **Entity**: Lisbon <> **Concept**: city <> **Description**: x
Entity 1: Lisbon <> Type: city <> x
Entity - Lisbon <> city <> x
Entity name = Lisbon <> city <> x
Text: "Lisbon" <> Entity concept: city <> Definition: x
Entity from the text: Lisbon <> Entity concept: city <> Description of entity: x
<Lisbon> <> <city> <> <x>
{Lisbon} <> {city} <> {x}
[Lisbon] <> [city] <> [x]
(Lisbon) <> city <> x
“Lisbon” <> city <> x
«Lisbon» <> city <> x
`Lisbon` <> `city` <> `x`
***Lisbon*** <> city <> x
__**Lisbon**__ <> city <> x
```Lisbon <> city <> x```
`Lisbon <> city <> x`
**Lisbon <> city <> x**
- **Lisbon <> city <> x**
"Lisbon <> city <> x",
[Lisbon <> city <> x]
<Lisbon <> city <> x>
Lisbon <> city -|- x
Lisbon -|- city <> x
Lisbon -|-city-|- x
Lisbon<>city<>x
Lisbon &lt;&gt; city &lt;&gt; x
Lisbon \\<\\> city \\<\\> x
Lisbon < > city < > x
Lisbon – | – city – | – x
Lisbon＜＞city＜＞x
Lisbon <> city <> x<|im_end|>
<answer>Lisbon <> city <> x</answer>
""".splitlines()
BLOCKS = [
    "~~~\nLisbon <> city <> x\n~~~",
    "```\n| Lisbon <> city <> x |\n```",
    "| Entity | Concept | Description |\n|---|---|---|\n| Lisbon | city | x |",
    "| # | Entity | Type |  |\n|--|--|--|--|\n| 1 | Lisbon | city | x |",
    "| entity <> concept |\n| --- <> --- |\n| Lisbon <> city <> x |",
    "**Entity** <> **Concept** <> **Description**\nLisbon <> city <> x",
]


@pytest.fixture(scope="module")
def convert():
    """What becomes of an answer in the corpus: the verdict, and spans."""
    tokenize = make_tokenizer("en")

    def run(content, text, *, structured=False):
        answer = Answer(content, "stop")
        record = to_record(Sentence(1, "1", text), answer, structured=structured)
        row = Row(Source("a.jsonl", "jsonl"), 1, [record], 1)
        outcome = process(row, lambda record: tokenize(record.text), ConvertSettings())
        verdict = judge(answer, text=text, structured=structured)
        if outcome.doc is None:
            return verdict, []
        described = outcome.descriptions
        return verdict, [
            (outcome.doc[start:end].text, label, described.get(label))
            for start, end, label in outcome.spans
        ]

    return run


@pytest.mark.parametrize("answer", LINES + BLOCKS)
def test_marks_are_taken_off(convert, answer):
    assert convert(answer, TEXT) == ("good", [("Lisbon", "city", "x")])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Ana Lima. <> person <> x", "Ana Lima"),
        ("AT&amp;T <> company <> x", "AT&T"),
        ("AT\\&T <> company <> x", "AT&T"),
        ("**AT&amp;T**, <> company <> x", "AT&T"),
        ("3 May <> date <> x", "3 May"),
    ],
)
def test_other_entities(convert, answer, words):
    verdict, spans = convert(answer, TEXT)
    assert (verdict, [span[0] for span in spans]) == ("good", [words])


@pytest.mark.parametrize(
    ("text", "answer", "words"),
    [
        ("In **Lisbon** now.", "**Lisbon** <> city", "**Lisbon**"),
        ('We saw "Heat".', '"Heat" <> film', '"Heat"'),
        ("We saw “Heat”.", '"Heat" <> film', "Heat"),
        (
            'They call it "The Process," he says.',
            '"The Process" <> plan',
            "The Process",
        ),
        ("1. FC Köln won.", "1. FC Köln. <> club", "1. FC Köln"),
        ("A domain with . info at its end.", ".info <> domain", ". info"),
        ("Write AT&amp;T in HTML.", "AT&amp;T <> company", "AT&amp;T"),
        ("Write AT&amp;T in HTML.", "AT&T <> company", "AT&amp;T"),
        ("Now the • sign.", "• <> bullet", "•"),
        ("Their #1 song.", "#1 <> rank", "#1"),
        ("I use | here.", "| <> pipe <> x", "|"),
        ("Entity: Lisbon", "Entity: Lisbon <> label", "Entity: Lisbon"),
        ("C++ is old.", "C++, <> language", "C++"),
    ],
)
def test_what_the_text_has_stays(convert, text, answer, words):
    verdict, spans = convert(answer, text)
    assert (verdict, [span[0] for span in spans]) == ("good", [words])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # Not a mark but a part of the word.
        ("C and Java", "C++ <> language"),
        ("It is 100 euros", "$100, <> price"),
        ("It is 5 below", "-5 <> temperature"),
        ("the US Army", "U.S. Army <> army"),
        # Letters within another word.
        ("Lima art", "(a) <> letter"),
        ("15000 or 000", "5,000 <> number"),
    ],
)
def test_what_the_text_does_not_have_is_lost(convert, text, answer):
    assert convert(answer, text) == ("not in the text", [])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Lisbon", "Lis\u00adbon"),
        ("office", "office\u200b"),
        ("Lisbon office", "Lis\u00adbon office\u200b"),
        ("Ana Lima", "Ana\u200d Lima"),
        ("Porto", "\u200bPorto\u200b"),
        ("Faro", "Fa\u2060ro"),
        ("Braga", "\ufeffBraga"),
    ],
)
def test_what_nobody_sees_hides_no_word(convert, words, found):
    text = (
        "The Lis\u00adbon office\u200b of Ana\u200d Lima, \u200bPorto\u200b and "
        "Fa\u2060ro \ufeffBraga."
    )
    assert convert(f"{words} <> name <> x", text) == ("good", [(found, "name", "x")])


def test_marks_in_json(convert):
    content = '{"entities": [{"text": "1. **Lisbon**,", "concept": "city"}]}'
    verdict, spans = convert(content, TEXT, structured=True)
    assert (verdict, spans) == ("good", [("Lisbon", "city", None)])


@pytest.mark.parametrize(
    ("content", "structured", "verdict"),
    [
        ("Porto <> city <> x", False, "not in the text"),
        ("Porto <> city\nMadrid <> city\nno", False, "not in the text"),
        ("Porto <> city\nlisbon <> city", False, "good"),
        ('{"entities": [{"text": "Porto", "concept": "c"}]}', True, "not in the text"),
        # That there is nothing to mark is an answer.
        ('{"entities": []}', True, "empty"),
        ("", False, "empty"),
    ],
)
def test_an_answer_about_another_text_is_not_good(content, structured, verdict):
    assert judge(Answer(content, "stop"), text=TEXT, structured=structured) == verdict


@pytest.mark.parametrize(
    ("content", "text"),
    [
        # As many separators as fit, without the end of a line.
        ("<> " * 1_000_000, TEXT),
        ("a <> b " + "<> " * 1_000_000, TEXT),
        ("a <> " * 1_000_000 + "b", "a <> b"),
        ("<>" * 1_500_000, "<>"),
        ("-|-" * 1_000_000, "-|-"),
        ("ab\n" * 300_000, TEXT),
        ("*" * 3_000_000, TEXT),
        ("|" * 3_000_000, TEXT),
        ('"' * 1_500_000 + "<>" + '"' * 1_500_000, TEXT),
    ],
)
def test_megabytes_take_linear_time(content, text):
    # It took hours in place of seconds.
    parse_answer(content, text=text)


@pytest.mark.parametrize(
    "answer",
    [
        "| Entity | Concept | Description |\n|---|---|---|\n| 2019 | year | x |",
        "| # | Entity | Concept | More |\n|:-:|---|---|---|\n| 1 | 2019 | year | x |",
        "Entity | Concept | Description\n--- | --- | ---\n2019 | year | x",
        "- [x] 2019 <> year <> x",
        "「2019」 <> 「year」 <> x",
    ],
)
def test_tables_and_lists_of_numbers(convert, answer):
    found = convert(answer, "1 of them left in 2019.")
    assert found == ("good", [("2019", "year", "x")])
