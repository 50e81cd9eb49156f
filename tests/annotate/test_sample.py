"""Sentences: where they end, which are drawn, what is remembered of them."""

import json
import random
import tracemalloc
from collections import Counter

import pytest
import spacy

from spacy_nuner.annotate.sample import (
    DistinctSample,
    Document,
    SampleReport,
    draw_sample,
    load_splitter,
    read_documents,
    split_sentences,
)
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.records import Tally
from spacy_nuner.tokenizers import InParts


@pytest.fixture(scope="module")
def english():
    return load_splitter("rule", "en")


def split(nlp, *texts, tally=None):
    documents = [Document(text, "s", "d") for text in texts]
    found = split_sentences(nlp, documents, tally or Tally())
    return [(sentence, words) for sentence, words, _ in found]


def draw(texts, n, *, seed=0):
    sample = DistinctSample(n, seed=seed)
    for text in texts:
        sample.offer(text, text.encode)
    return [record.decode() for record in sample.records()]


# Sentences


def test_sentences_and_their_words(english):
    text = "Dr. Sá  lives in Porto, doesn't he?\tYes! He does.\nA heading\n\n \nEnd."
    assert split(english, text) == [
        ("Dr. Sá lives in Porto, doesn't he?", 8),
        ("Yes!", 1),
        ("He does.", 2),
        ("A heading", 2),
        ("End.", 1),
    ]


def test_a_sentence_a_line():
    found = split(load_splitter("line", "en"), "One. Two.\nThree")
    assert found == [("One. Two.", 2), ("Three", 1)]


def test_a_language_without_blanks():
    nlp = load_splitter("rule", "zh")
    found = split(nlp, "我在里斯本。他在波尔图。")
    assert [words for _, words in found] == [5, 5]


def test_a_trained_pipeline(tmp_path):
    import spacy

    nlp = spacy.blank("de")
    nlp.add_pipe("sentencizer", config={"punct_chars": ["|"]})
    nlp.to_disk(tmp_path / "pipeline")
    found = split(load_splitter(str(tmp_path / "pipeline"), "en"), "Eins. Zwei | Drei")
    assert [sentence for sentence, _ in found] == ["Eins. Zwei |", "Drei"]


@pytest.mark.parametrize(
    ("splitter", "lang", "number"),
    [("rule", "qq", "N010"), ("no_such_pipeline", "en", "N202")],
)
def test_no_such_language_or_pipeline(splitter, lang, number):
    with pytest.raises(NunerError, match=number):
        load_splitter(splitter, lang)


def test_broken_and_endless_pieces_are_counted(english, monkeypatch):
    tally = Tally()
    monkeypatch.setattr(english, "max_length", 1000)
    texts = ("a\x00b", "Good.\nx\ufffdy", "\ud800", "word " * 300, "", " \n ")
    assert split(english, *texts, tally=tally) == [("Good.", 1)]
    assert tally.describe() == (
        "3 with broken characters (first: s:d), "
        "1 longer than 1,000 characters (first: s:d)"
    )


# Drawing


def test_distinct_texts_in_any_order():
    texts = [f"text {number}" for number in range(500)]
    drawn = draw(texts, 50)
    assert len(set(drawn)) == 50
    again = texts * 3
    random.Random(0).shuffle(again)
    assert draw(again, 50) == drawn
    assert draw(texts, 50, seed=1) != drawn
    # The first of a large sample are a small sample.
    assert draw(texts, 10) == drawn[:10]
    assert sorted(draw(again, 1000)) == sorted(texts)


def test_every_distinct_text_has_the_same_chance():
    # "x" comes a hundred times as often as any other.
    texts = [f"{number}" for number in range(40)] + ["x"] * 100
    counts = Counter(text for seed in range(2000) for text in draw(texts, 4, seed=seed))
    # 2,000 draws of 4 out of 41: 195 each, with a standard deviation of 13.
    assert len(counts) == 41
    assert all(130 <= count <= 260 for count in counts.values())


def test_memory_does_not_grow_with_the_stream():
    sample = DistinctSample(1000, seed=0)

    def offer(numbers):
        for number in numbers:
            text = f"sentence number {number}"
            sample.offer(text, text.encode)

    offer(range(5000))
    tracemalloc.start()
    offer(range(5000, 60_000))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A thousand records were replaced, none added.
    assert grown < 500_000
    assert len(sample) == 1000


def test_a_sample_of_c4(english, data):
    report = SampleReport()
    source = str(data / "raw-text" / "c4.jsonl")
    documents = list(read_documents(source, tally=report.tally))[:1500]
    sample = DistinctSample(500)
    draw_sample(documents, english, sample, report, min_words=8, max_words=30)
    rows = [json.loads(record) for record in sample.records()]
    assert len(rows) == report.drawn == 500
    assert report.documents == 1500
    assert report.sentences > 1500
    assert report.outside > 0
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == 500
    by_doc = {}
    for document in documents:
        text = " ".join(document.text.split())
        by_doc[document.source, document.doc] = (
            by_doc.get((document.source, document.doc), "") + " " + text
        )
    for row in rows:
        assert list(row) == ["id", "text", "source", "doc"]
        assert row["text"] in by_doc[row["source"], row["doc"]]
        assert row["text"] == " ".join(row["text"].split())


def test_a_pipeline_that_splits_gets_long_stretches_in_parts(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "nlp")
    assert isinstance(load_splitter(str(tmp_path / "nlp"), "en").tokenizer, InParts)
