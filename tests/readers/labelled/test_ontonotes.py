"""OntoNotes 5 as CoNLL-2012 has it; the sentences are written for this test."""

import pytest

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.labelled.ontonotes import is_gold_conll
from spacy_nuner.readers.sources import find_sources

WORDS = [
    [("Ana", "(PERSON*"), ("Lima", "*)"), ("-LRB-", "*"), ("28", "(DATE)")]
    + [("-RRB-", "*"), ("left", "*"), ("Porto", "(GPE)"), ("/.", "*")],
    [("So", "*"), ("did", "*"), ("Rui", "(PERSON)"), ("Ito", "(PERSON*)")],
]


def write_gold(path, sentences, *, arguments=1):
    """Columns as wide as the widest word, as the release has them."""
    lines = ["#begin document (bc/cctv/00/cctv_0001); part 000"]
    for words in sentences:
        for i, (word, name) in enumerate(words):
            columns = ["bc/cctv/00/cctv_0001", "0", str(i), word, "NN", "(TOP*"]
            columns += ["-", "-", "-", "Speaker#1", name]
            columns += ["*"] * arguments + ["(12" if i else "-"]
            lines.append("   ".join(column.rjust(4) for column in columns))
        lines.append("")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "#end document", ""]), "utf8")


def entities(docs):
    return [[(ent.text, ent.label_) for ent in doc.ents] for doc in docs]


EXPECTED = [
    [("Ana Lima", "PERSON"), ("28", "DATE"), ("Porto", "GPE")],
    [("Rui", "PERSON"), ("Ito", "PERSON")],
]


@pytest.mark.parametrize("name", ["a.v4_gold_conll", "train.gold_conll", "b.conll"])
@pytest.mark.parametrize("arguments", [0, 3])
def test_names_in_brackets(tmp_path, name, arguments):
    write_gold(tmp_path / name, WORDS, arguments=arguments)
    docs = read_docs(tmp_path / name)
    assert entities(docs) == EXPECTED
    assert [token.text for token in docs[0]][2:5] == ["(", "28", ")"]
    assert docs[0][-1].text == "."


def test_the_release_is_a_tree_of_files(tmp_path):
    for section in ("bn/cnn/00/cnn_0001", "bc/cctv/00/cctv_0001"):
        path = tmp_path / "annotations" / f"{section}.v4_gold_conll"
        write_gold(path, WORDS)
        path.with_suffix(".v4_gold_skel").write_text("none of ours")
    sources = find_sources([tmp_path / "annotations"])
    assert [source.format for source in sources] == ["bio", "bio"]
    assert entities(read_docs(tmp_path / "annotations")) == EXPECTED * 2
    # A source without annotated names would be full of sentences without entities.
    bible = tmp_path / "annotations" / "pt" / "nt" / "40" / "nt_4001.v4_gold_conll"
    write_gold(bible, [[("Jesus", "*"), ("wept", "*")]])
    assert len(find_sources([tmp_path / "annotations"])) == 2
    assert len(find_sources([bible.parent])) == 1


def test_a_word_may_hold_a_no_break_space(tmp_path):
    words = [[("Ana\u00a0Lima", "(PERSON)"), ("left", "*")]]
    write_gold(tmp_path / "a.gold_conll", words)
    (doc,) = read_docs(tmp_path / "a.gold_conll")
    assert [ent.text for ent in doc.ents] == ["Ana\u00a0Lima"]


@pytest.mark.parametrize(
    "names",
    [
        ["(PERSON*", "(DATE)", "*)"],
        ["*", "*)", "(GPE)"],
        ["(GPE)", "(PERSON*", "*"],
        ["(GPE)", "PERSON", "*"],
    ],
)
def test_brackets_that_do_not_fit(tmp_path, names):
    words = [("Ana", "(PERSON)")]
    broken = list(zip(["a", "b", "c"], names, strict=True))
    write_gold(tmp_path / "a.conll", [words, broken])
    with pytest.raises(NunerError, match=r"N608.*name"):
        read_docs(tmp_path / "a.conll")


def test_other_columns_are_none_of_it():
    assert not is_gold_conll(["Ana B-PER"])
    assert not is_gold_conll([" ".join(["x"] * 13)])
    assert not is_gold_conll(["# a comment"])
    assert not is_gold_conll([])
