"""The fast DocBin writes what spaCy's own does, where words and spans are all."""

import pytest
import spacy
import srsly
from spacy.tokens import DocBin, Span, SpanGroup

from spacy_nuner.errors import NunerError
from spacy_nuner.readers.docbin import ShardBin, read_corpus, read_docbin

TEXTS = [
    "In Lisbon, don't  miss the café 🎉!",
    "It\u00a0costs $4. 95\n\nor so ",
    "x",
    "",
]


SPANS = [[(1, 2, "city"), (0, 3, "größe"), (1, 2, "größe")], [(2, 5, "price")], [], []]
DESCRIPTIONS = [{"city": "a big place", "größe": "ß 🎉"}, {}, {}, {}]


def make_docs(nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    for doc, spans, descriptions in zip(docs, SPANS, DESCRIPTIONS, strict=True):
        doc.spans["concepts"] = SpanGroup(
            doc,
            name="concepts",
            spans=[Span(doc, *span) for span in spans],
            attrs={"descriptions": descriptions},
        )
    return docs


def make_shard(nlp):
    shard = ShardBin()
    for text, spans, descriptions in zip(TEXTS, SPANS, DESCRIPTIONS, strict=True):
        shard.add(nlp.make_doc(text), spans, descriptions)
    return shard


def test_the_same_docs_come_back_as_from_a_plain_docbin():
    docs = make_docs(spacy.blank("en"))
    fast, plain = make_shard(spacy.blank("en")), DocBin(attrs=["ORTH"], docs=docs)
    # Byte by byte, so that a change of spaCy's format is seen here.
    assert fast.span_groups == plain.span_groups
    loaded = [
        list(DocBin().from_bytes(one.to_bytes()).get_docs(spacy.blank("en").vocab))
        for one in (fast, plain)
    ]
    for before, doc, other in zip(docs, *loaded, strict=True):
        check_equal(doc, before)
        check_equal(doc, other)
        assert not doc.has_unknown_spaces
        for group in doc.spans.values():
            wanted = [one.label_ for one in before.spans["concepts"]]
            assert [one.label_ for one in group] == wanted


def test_an_empty_bin():
    assert len(DocBin().from_bytes(ShardBin().to_bytes())) == 0


def check_equal(doc, other):
    assert doc.to_json() == other.to_json()
    assert [token.whitespace_ for token in doc] == [one.whitespace_ for one in other]
    assert list(doc.spans) == list(other.spans)
    for key, group in doc.spans.items():
        assert group.name == other.spans[key].name
        assert group.attrs == other.spans[key].attrs
        assert group.to_bytes() == other.spans[key].to_bytes()
    assert doc.cats == other.cats
    assert doc.user_data == other.user_data


def make_rich_docs():
    """With everything that a DocBin can hold, not only what ShardBin writes."""
    docs = make_docs(spacy.blank("en"))
    docs[0].ents = [Span(docs[0], 1, 2, label="GPE", kb_id="Q597")]
    docs[0].cats = {"travel": 0.5}
    docs[0].user_data["source"] = "a page"
    span = Span(docs[0], 3, 5, label="x", kb_id="Q1", span_id="s7")
    docs[0].spans["other"] = SpanGroup(docs[0], name="own name", spans=[span])
    docs[0].spans["copy"] = docs[0].spans["concepts"]
    docs[0].spans["scored"] = [span]
    docs[0].spans["scored"].attrs["scores"] = docs[1].to_array("LENGTH")
    return docs


@pytest.mark.parametrize("rich", [False, True])
def test_docs_come_back_as_spacys_own_reader_has_them(tmp_path, rich):
    path = tmp_path / "a.spacy"
    if rich:
        DocBin(docs=make_rich_docs(), store_user_data=True).to_disk(path)
    else:
        path.write_bytes(make_shard(spacy.blank("en")).to_bytes())
    ours = list(read_docbin(path))
    theirs = list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))
    assert len(ours) == len(TEXTS)
    for doc, other in zip(ours, theirs, strict=True):
        if rich and "scored" in doc.spans:
            scores = doc.spans["scored"].attrs.pop("scores").tolist()
            assert scores == other.spans["scored"].attrs.pop("scores").tolist()
        check_equal(doc, other)


def test_groups_as_early_releases_wrote_them(tmp_path):
    docs = make_docs(spacy.blank("en"))
    docbin = DocBin(docs=docs)
    docbin.span_groups = [
        srsly.msgpack_dumps([group.to_bytes() for group in doc.spans.values()])
        for doc in docs
    ]
    docbin.span_groups[-1] = b""
    docs[-1].spans.clear()
    docbin.to_disk(tmp_path / "a.spacy")
    for doc, before in zip(read_docbin(tmp_path / "a.spacy"), docs, strict=True):
        # Their names were their keys.
        groups = {group.name: group for group in before.spans.values()}
        assert {name: group.to_bytes() for name, group in doc.spans.items()} == {
            name: group.to_bytes() for name, group in groups.items()
        }


def test_a_corpus_is_read_shard_by_shard(tmp_path):
    for number in (1, 0):
        docs = make_docs(spacy.blank("en"))
        DocBin(docs=docs[number:]).to_disk(tmp_path / f"0000{number}.spacy")
    texts = [doc.text for doc in read_corpus(tmp_path)]
    assert texts == [doc.text for doc in [*docs, *docs[1:]]][: len(texts)]
    assert len(texts) == 2 * len(TEXTS) - 1


def test_what_is_no_corpus(tmp_path):
    with pytest.raises(NunerError, match="N105"):
        next(read_corpus(tmp_path))
    (tmp_path / "a.spacy").write_bytes(b"not a DocBin")
    with pytest.raises(NunerError, match=r"N607.*a\.spacy"):
        next(read_corpus(tmp_path))
