"""The fast DocBin writes what spaCy's own does, where words and spans are all."""

import spacy
from spacy.tokens import DocBin, Span, SpanGroup

from spacy_nuner.corpus.docbin import ShardBin

TEXTS = [
    "In Lisbon, don't  miss the café 🎉!",
    "It\u00a0costs $4. 95\n\nor so ",
    "x",
    "",
]


def make_docs(nlp):
    docs = [nlp.make_doc(text) for text in TEXTS]
    attrs = {"descriptions": {"city": "a big place", "größe": "ß 🎉"}}
    spans = [Span(docs[0], 1, 2, label="city"), Span(docs[0], 0, 3, label="größe")]
    docs[0].spans["concepts"] = SpanGroup(
        docs[0], name="concepts", spans=spans, attrs=attrs
    )
    docs[1].spans["concepts"] = SpanGroup(docs[1], name="concepts", spans=[])
    docs[1].spans["other"] = [Span(docs[1], 0, 1, label="new label")]
    return docs


def test_the_same_docs_come_back_as_from_a_plain_docbin():
    docs = make_docs(spacy.blank("en"))
    fast, plain = ShardBin(), DocBin(attrs=["ORTH"])
    for doc in docs:
        fast.add(doc)
        plain.add(doc)
    # Byte by byte, so that a change of spaCy's format is seen here.
    assert fast.span_groups == plain.span_groups
    loaded = [
        list(DocBin().from_bytes(one.to_bytes()).get_docs(spacy.blank("en").vocab))
        for one in (fast, plain)
    ]
    for before, doc, other in zip(docs, *loaded, strict=True):
        assert doc.text == other.text == before.text
        assert [token.text for token in doc] == [token.text for token in before]
        assert not doc.has_unknown_spaces
        assert list(doc.spans) == list(other.spans) == list(before.spans)
        for key, group in doc.spans.items():
            assert group.attrs == before.spans[key].attrs
            wanted = [(one.text, one.label_) for one in before.spans[key]]
            assert [(one.text, one.label_) for one in group] == wanted


def test_an_empty_bin():
    assert len(DocBin().from_bytes(ShardBin().to_bytes())) == 0
