"""Names of concepts: one concept, one name."""

import json

import pytest

from spacy_nuner.concept_names import EMPTY_TYPES, MAX_NAME, REFUSED, clean_concept


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Person", "person"),
        ("  Job \t Title\n", "job title"),
        ("job_title", "job title"),
        ("Job\u00a0Title", "job title"),
        ("“Job Title”.", "job title"),
        ("'person'", "person"),
        ("**Person**", "person"),
        ("- Person:", "person"),
        ("[Person]", "person"),
        ("(Person)", "person"),
        ("(“Person”)", "person"),
        # Punctuation inside, and brackets that close something, stay.
        ("Company/Organization", "company/organization"),
        ("food & beverage", "food & beverage"),
        ("person (fictional)", "person (fictional)"),
        ("viewers' rating", "viewers' rating"),
        ("C++ Library", "c++ library"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("non-equity plan", "non-equity plan"),
        # Compatible forms, letters that fold to two, the dotted capital I.
        ("Ｐｅｒｓｏｎ", "person"),
        ("ﬁrm", "firm"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("cafe\u0301", "café"),
        ("İl", "i\u0307l"),
        ("", ""),
        (" -.\"' ", ""),
        ("()", ""),
        ("_", ""),
    ],
)
def test_clean_concept(written, name):
    assert clean_concept(written) == name
    assert clean_concept(name) == name


def test_the_names_of_the_settings_are_clean():
    for name in EMPTY_TYPES | REFUSED:
        assert clean_concept(name) == name
        assert name
    assert {"entity type", "object", "thing", "proper noun", "n/a"} <= EMPTY_TYPES
    assert REFUSED <= EMPTY_TYPES


@pytest.mark.parametrize(
    "folder",
    ["nuner-sample", "pile-ner-slimer", "pile-ner-definitions", "sec10k-gpt35"],
)
def test_real_names(data, folder):
    path = data / folder / "data.jsonl"
    rows = map(json.loads, path.read_text(encoding="utf8").splitlines())
    names = {one["concept"] for row in rows for one in row["entities"]}
    cleaned = {clean_concept(name) for name in names}
    assert all(cleaned)
    assert all(clean_concept(name) == name for name in cleaned)
    # There are 1,562 when only the case is folded: little else is to be done.
    folded = {name.casefold() for name in names}
    assert 0.97 * len(folded) <= len(cleaned) <= len(folded)
    assert sum(len(name) > MAX_NAME for name in cleaned) <= 1
