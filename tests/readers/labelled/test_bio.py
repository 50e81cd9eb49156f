"""Columns of words and tags, in every scheme and order."""

import pytest

from spacy_nuner.errors import NunerError
from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources


def rows(folder, content, name="a.conll"):
    path = folder / name
    path.write_text(content, encoding="utf8")
    (source,) = find_sources([path])
    assert source.format == "bio"
    return list(read_rows(source))


def pairs(record):
    for one in record.entities:
        assert record.text[one.start : one.end] == one.text
    return [(one.text, one.concept) for one in record.entities]


def test_words_are_joined_by_blanks(tmp_path):
    tokens = [
        *("New B-city", "York I-city", "and O", "Rome B-city", "Bonn\tB-city"),
        *("I-am O", "Ann I-person", "Lee\tI-person", "x I-city", "! O"),
    ]
    (row,) = rows(tmp_path, "\n".join(tokens))
    record = read_record(row)
    assert record.text == "New York and Rome Bonn I-am Ann Lee x !"
    assert record.words == record.text.split()
    assert pairs(record) == [
        ("New York", "city"),
        ("Rome", "city"),
        ("Bonn", "city"),
        ("Ann Lee", "person"),
        ("x", "city"),
    ]


@pytest.mark.parametrize(
    "line", ["Lisbon", "Lisbon city", "\tB-city", "x B-", "x b-y", "x\t"]
)
def test_a_bad_line_costs_its_sentence_alone(tmp_path, line):
    good = "In O\nRome B-city\n"
    first, bad, last = rows(tmp_path, f"{good}\nIn O\n{line}\n\n{good}")
    assert pairs(read_record(first)) == pairs(read_record(last)) == [("Rome", "city")]
    assert (bad.line, bad.problem.line) == (4, 5)
    assert bad.problem.kind == "not a word and its tag"
    assert bad.content == ["In O", line]


def test_the_layout_is_found(tmp_path):
    first = "O\tIn\nB-city\tNew\nI-city\tYork\n"
    conll = "-DOCSTART- -X- -X- O\n\nIn IN O\nNew NNP B-city\nYork NNP I-city\n"
    bare = "In O\nNew city\nYork city\n"
    biluo = "In O\nNew B-city\nYork L-city\n"
    for content in (first, conll, bare, biluo):
        (row,) = rows(tmp_path, content)
        assert pairs(read_record(row)) == [("New York", "city")]


def test_tags_of_sets_with_one_kind_of_entity_have_no_label(tmp_path):
    """Its borders are kept; it gets a name."""
    content = "Parkinson\tB\n's\tI\ndisease\tI\nand\tO\nflu\tB\ncold\tB\n"
    (row,) = rows(tmp_path, content)
    expected = [(t, "ENTITY") for t in ("Parkinson 's disease", "flu", "cold")]
    assert pairs(read_record(row)) == expected
    (row,) = rows(tmp_path, content.replace("\tI\nand", "\tE\nand"))
    assert pairs(read_record(row))[0] == expected[0]
    # Labels of one letter are labels where no B is among them.
    (row,) = rows(tmp_path, "Ana\tP\nin\tO\nRome\tL\n")
    assert pairs(read_record(row)) == [("Ana", "P"), ("Rome", "L")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "10\u00a0km\tB-SIZE\n"),
        ("a.txt", "B-SIZE\tbig\n"),
        ("a.tsv", "Rome\tcity\nis\tO\n"),
        ("a", "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\n"),
    ],
)
def test_it_is_known_without_its_suffix(tmp_path, name, content):
    assert rows(tmp_path, content, name)


@pytest.mark.parametrize("content", ["In Rome .\nIt rains .\n", "word\n"])
def test_no_column_has_tags(tmp_path, content):
    with pytest.raises(NunerError, match=r"N605.*a\.conll.*line 1"):
        rows(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [
        # CoNLL-U and CoNLL-U Plus number the words; "1-2" is a range of them.
        "# text = New York\n1\tNew\tnew\tX\tB-city\n2-3\tYork's\t_\t_\t_\n"
        "2\tYork\tYork\tX\tI-city\n3\t's\ts\tX\tO\n",
        # GermEval, with where a sentence is from.
        "#\thttp://example.org [2009]\n1\tNew\tB-x\tB-city\n2\tYork\tI-x\tI-city\n"
        "3\t's\tO\tO\n",
        "token\tner_tag\nNew\tB-city\nYork\tI-city\n's\tO\n",
        "New NNP B_city\nYork NNP I_city\n's X O\n",
        "New city-B\nYork city-I\n's O\n",
        "New\tX\tB-city\t\nYork\tX\tI-city\t\n's\tX\tO\t\n",
        "New \tB-city \nYork \t I-city\n's\t O\n",
    ],
)
def test_columns_as_tools_write_them(tmp_path, content):
    (row,) = rows(tmp_path, content)
    record = read_record(row)
    assert (record.text, pairs(record)) == ("New York 's", [("New York", "city")])


def test_labels_of_label_studio_have_blanks(tmp_path):
    tags = ["-DOCSTART- -X- O", "Ana -X- _ B-Dead person", "Lima -X- _ I-Dead person"]
    (row,) = rows(tmp_path, "\n".join([*tags, "sat -X- _ O", ""]))
    assert pairs(read_record(row)) == [("Ana Lima", "Dead person")]


def test_tags_in_small_letters(tmp_path):
    (row,) = rows(tmp_path, "Ada b-per\nLee i-per\nran O\nhome b-loc\n")
    assert pairs(read_record(row)) == [("Ada Lee", "per"), ("home", "loc")]
    # A label may look like one.
    (row,) = rows(tmp_path, "a@b e-mail\nran O\n", "b.conll")
    assert pairs(read_record(row)) == [("a@b", "e-mail")]


def test_lines_that_are_no_words(tmp_path):
    text = "# Licensed under CC BY 4.0\n\n-DOCSTART-\n\nAda B-per\t\nran O\n"
    (row,) = rows(tmp_path, text)
    assert pairs(read_record(row)) == [("Ada", "per")]
    (row,) = rows(tmp_path, "-DOCSTART-\n\nAda B-per\nran O\n", "b.txt")
    assert pairs(read_record(row)) == [("Ada", "per")]


def test_bmewo(tmp_path):
    (row,) = rows(tmp_path, "Ana W-PER\nLima W-PER\nNew B-LOC\nYork E-LOC\n")
    found = [("Ana", "PER"), ("Lima", "PER"), ("New York", "LOC")]
    assert pairs(read_record(row)) == found
