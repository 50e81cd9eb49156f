"""`suggest` as people call it, with pipelines of several kinds."""

import json
import os
import sys
import weakref

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Span
from typer.testing import CliRunner

from spacy_nuner.apply.tagger import load_pipeline
from spacy_nuner.cli.app import app
from spacy_nuner.cli.suggest import suggest
from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.labelling.strategies import Strategy
from spacy_nuner.labelling.suggest import (
    Sentence,
    SuggestReport,
    judge_labelled,
    suggest_tasks,
)
from spacy_nuner.labelling.tasks import FORMS, Mark, TaskFormat
from spacy_nuner.labelling.uncertainty import LOWEST, Judge, get_likelihoods
from spacy_nuner.tokenizers import InParts

from .conftest import LABELS, read_rows, write_rows


def run(*args):
    result = CliRunner().invoke(app, ["suggest", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), (
        result.exception
    )
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def texts(tmp_path):
    return write_rows(tmp_path / "texts.jsonl", read_rows(count=40))


@pytest.fixture
def first(tiny_backbone, labels):
    """The options of the first round."""
    return ["--backbone", tiny_backbone, "--labels", labels]


def read(path):
    return [json.loads(line) for line in path.read_text("utf8").splitlines()]


@pytest.fixture(scope="module")
def nlp(tiny_backbone):
    nlp = spacy.blank("en")
    config = {"backbone": tiny_backbone, "labels": LABELS}
    nlp.add_pipe("nuner_ner", config=config)
    nlp.initialize()
    return nlp


def test_the_first_round(texts, first, tmp_path):
    output = tmp_path / "out.jsonl"
    code, printed = run(texts, output, "-n", 5, *first)
    assert code == 0, printed
    assert "5 sentences in" in printed and "out of 40" in printed
    before = output.read_bytes()
    rows = read(output)
    known = {row["text"] for row in read_rows(count=40)}
    assert len(rows) == 5 and {row["text"] for row in rows} <= known
    for row in rows:
        assert row["meta"]["reason"] and row["meta"]["source"] == "texts.jsonl"
        for span in row["spans"]:
            assert row["text"][span["start"] : span["end"]] == span["text"]
            assert span["label"] in LABELS and 0 <= span["score"] <= 1
    # The same input, the same output.
    assert run(texts, output, "-n", 5, *first)[0] == 0
    assert output.read_bytes() == before
    assert not output.with_suffix(".quarantine.jsonl").exists()


def test_what_is_labelled_is_left_out(texts, first, tmp_path):
    rows = read_rows(count=40)
    labelled = write_rows(tmp_path / "labelled.jsonl", rows[:30])
    output = tmp_path / "out.jsonl"
    code, printed = run(texts, output, *first, "-n", 20, "--labelled", labelled)
    assert code == 0, printed
    assert "30 labelled already" in printed and "W710" in printed
    found = {row["text"] for row in read(output)}
    assert found == {row["text"] for row in rows[30:]}
    code, printed = run(texts, output, *first, "--labelled", texts)
    assert code == 1 and "N715" in printed and "40 of them labelled" in printed


def test_sentences_of_labelled_documents_are_left_out(texts, first, tmp_path):
    rows = read_rows(count=40)
    whole = "\n".join(row["text"] for row in rows[:6])
    refused = "\n".join(row["text"] for row in rows[6:10])
    labelled = write_rows(
        tmp_path / "labelled.jsonl",
        [
            # Nothing was found in it.
            {"text": whole, "spans": [], "answer": "accept"},
            {"text": refused, "spans": [], "answer": "reject"},
        ],
    )
    output = tmp_path / "out.jsonl"
    code, printed = run(texts, output, *first, "-n", 40, "--labelled", labelled)
    assert code == 0 and "10 labelled already" in printed, printed
    assert {row["text"] for row in read(output)} == {row["text"] for row in rows[10:]}


def test_what_is_like_a_sentence_of_a_labelled_document_is_left_out(ruler, tmp_path):
    known = "We saw a flat with two rooms and number one garden there yesterday."
    whole = f"The agent came late. {known} Then it rained on all of us for hours."
    labelled = write_rows(tmp_path / "labelled.jsonl", [{"text": whole, "spans": []}])
    others = ["A kitchen and two double bedrooms are to let near Leyton station."]
    rows = [{"text": text} for text in (known.replace("one", "two"), *others)]
    texts = write_rows(tmp_path / "texts.jsonl", rows)
    output = tmp_path / "out.jsonl"
    code, printed = run(ruler, texts, output, "--labelled", labelled)
    assert code == 0, printed
    assert [row["text"] for row in read(output)] == others


def test_the_language_is_that_of_the_pipeline(tmp_path):
    nlp = spacy.blank("zh")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "AREA", "pattern": "莱顿"}])
    nlp.to_disk(tmp_path / "zh")
    sentences = ["我在莱顿看了一套两室的房子。", "他们在伦敦租了一间大公寓。"]
    texts = write_rows(tmp_path / "texts.jsonl", [{"text": one} for one in sentences])
    spans = [{"start": 1, "end": 3, "label": "AREA"}]
    row = {"text": "去莱顿的车每天早上八点出发。", "spans": spans}
    labelled = write_rows(tmp_path / "labelled.jsonl", [row])
    output = tmp_path / "out.jsonl"
    code, printed = run(tmp_path / "zh", texts, output, "--labelled", labelled)
    assert code == 0 and "W601" not in printed, printed
    assert {row["text"] for row in read(output)} == set(sentences)
    code, printed = run(tmp_path / "zh", texts, output, "--lang", "en")
    assert code == 1 and "N715" in printed and "--lang" in printed


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes")
@pytest.mark.parametrize("form", list(TaskFormat))
def test_a_file_whose_name_is_not_utf8(ruler, texts, tmp_path, form):
    folder = tmp_path / "texts"
    folder.mkdir()
    os.rename(texts, os.path.join(os.fsencode(folder), b"caf\xe9.jsonl"))
    output = tmp_path / f"out{FORMS[form].suffix}"
    code, printed = run(ruler, folder, output, "-n", 3, "--format", form)
    assert code == 0, printed
    # It stands nowhere in brat's files, and compressed in spaCy's.
    assert form in ("brat", "spacy") or b"caf" in output.read_bytes()


def give(text, *, verdict):
    """A row of Prodigy, of Label Studio and of Argilla."""
    submitted = {"status": "submitted" if verdict == "accept" else "discarded"}
    return [
        {"text": text, "spans": [], "answer": verdict},
        {
            "data": {"text": text},
            "annotations": [{"result": [], "was_cancelled": verdict != "accept"}],
        },
        {
            "text": text,
            "spans.responses": [[]],
            "spans.responses.status": [submitted["status"]],
        },
    ]


@pytest.mark.parametrize("tool", [0, 1, 2], ids=["prodigy", "label-studio", "argilla"])
@pytest.mark.parametrize("verdict", ["ignore", "reject"])
def test_what_was_skipped_is_left_out(texts, first, tmp_path, tool, verdict):
    rows = read_rows(count=40)
    given = [give(row["text"], verdict=verdict)[tool] for row in rows[2:10]]
    done = [{"text": row["text"], "spans": row["spans"]} for row in rows[:2]]
    labelled = write_rows(tmp_path / "labelled.jsonl", [*done, *given])
    output = tmp_path / "out.jsonl"
    code, printed = run(texts, output, *first, "-n", 40, "--labelled", labelled)
    assert code == 0 and "10 labelled already" in printed, printed
    assert {row["text"] for row in read(output)} == {row["text"] for row in rows[10:]}


def test_rows_that_hold_no_text_are_put_aside(first, tmp_path):
    rows = read_rows(count=6)
    texts = write_rows(tmp_path / "texts.jsonl", [*rows, {"body": "x"}, 7])
    with texts.open("ab") as file:
        file.write(b"\xff\xfe broken\n")
    output = tmp_path / "out.jsonl"
    code, printed = run(texts, output, "-n", 3, *first)
    assert code == 0 and "W201" in printed and "3 sentences in" in printed
    aside = read(tmp_path / "out.quarantine.jsonl")
    assert {row["reason"] for row in aside} == {
        "without a text in 'text'",
        "not a JSON object",
        "not UTF-8",
    }
    # For brat it is in the folder, and import passes over it.
    code, printed = run(texts, tmp_path / "out", "-n", 3, "--format", "brat", *first)
    assert code == 0, printed
    assert (tmp_path / "out" / "quarantine.jsonl").exists()
    result = CliRunner().invoke(
        app, ["import", str(tmp_path / "out"), str(tmp_path / "x.jsonl")]
    )
    assert result.exit_code == 0 and len(read(tmp_path / "x.jsonl")) == 3


@pytest.mark.parametrize("by", Strategy)
def test_every_strategy_gives_distinct_sentences(nlp, by):
    sentences = [Sentence(row["text"]) for row in read_rows(count=30)]
    tasks = suggest_tasks(Judge(nlp), [*sentences, *sentences], 8, by=by, seed=1)
    assert len({task.text for task in tasks}) == 8
    again = suggest_tasks(Judge(nlp), [*sentences, *sentences], 8, by=by, seed=1)
    assert again == tasks
    if by == "random":
        again = suggest_tasks(Judge(nlp), sentences[::-1], 8, by=by, seed=1)
        assert [task.text for task in again] == [task.text for task in tasks]
        other = suggest_tasks(Judge(nlp), sentences, 8, by=by, seed=2)
        assert {task.text for task in other} != {task.text for task in tasks}


def test_memory_is_bounded_by_the_pool(nlp, monkeypatch):
    from spacy_nuner.labelling import suggest as module

    report = SuggestReport()
    alive: set[int] = set()
    most = 0

    class Counting(Judge):
        def judge(self, texts):
            for one in super().judge(texts):
                alive.add(id(one))
                weakref.finalize(one, alive.remove, id(one))
                yield one

    def on_batch(sentences, words):
        nonlocal most
        most = max(most, len(alive))

    monkeypatch.setattr(module, "BATCH_SIZE", 10)
    tasks = suggest_tasks(
        Counting(nlp),
        (Sentence(row["text"]) for row in read_rows()),
        4,
        report=report,
        pool_size=12,
        on_batch=on_batch,
    )
    assert report.sentences == 150 and report.kept <= 12 and len(tasks) == 4
    # Those of the pool and of a batch.
    assert 12 <= most <= 12 + 10


def test_a_judgement_has_the_spans_of_the_pipeline(nlp):
    texts = [row["text"] for row in read_rows(count=20)]
    found = Judge(nlp).judge(texts)
    for doc, one in zip(list(nlp.pipe(texts)), found, strict=True):
        ents = [(e.start_char, e.end_char, e.label_) for e in doc.ents]
        assert [mark[:3] for mark in one.marks] == ents
        scores = doc.spans["nuner_ner"].attrs["scores"]
        np.testing.assert_allclose([m.score for m in one.marks], scores, atol=1e-3)
        pairs = zip(one.words, one.spaces, strict=True)
        assert "".join(word + " " * space for word, space in pairs) == doc.text
        assert (one.scores >= LOWEST).all() and len(one.vectors) == len(one.labels)


def test_a_half_is_where_an_independent_label_decides():
    logits = np.log(np.asarray([[0.2, 0.2], [0.9, 0.1], [0.6, 1e-9]]) / 1)
    logits -= np.log1p(-np.exp(logits))
    found = get_likelihoods(logits, np.asarray([0.2, 0.6]))
    np.testing.assert_allclose(found[0], [0.5, 0.2 / 1.2], atol=1e-6)
    assert found[1, 0] == pytest.approx(1 - 0.5 * 0.1 / 0.8)
    assert (
        np.diff(get_likelihoods(np.linspace(-9, 9, 50)[:, None], [0.3])[:, 0]) > 0
    ).all()


def test_labelled_spans_have_vectors_and_counts(nlp, tmp_path):
    docs = read_docs(write_rows(tmp_path / "a.jsonl", read_rows(count=5)))
    found = judge_labelled(Judge(nlp), docs)
    count = sum(len(row["spans"]) for row in read_rows(count=5))
    assert found.mentions.total() == count
    # And those that are possible, which a person saw and did not take.
    texts = [doc.text for doc in docs]
    possible = [len(one.labels) for one in Judge(nlp).judge_all(texts)]
    assert len(found.vectors) == count + sum(possible) > count
    refused = judge_labelled(Judge(nlp), docs[:2], [*texts[2:], ""])
    assert refused.mentions.total() == sum(len(doc.ents) for doc in docs[:2])
    assert len(refused.vectors) == refused.mentions.total() + sum(possible)
    assert judge_labelled(Judge(nlp), []).vectors is None


@pytest.fixture
def ruler(tmp_path):
    """A pipeline whose entities have no scores."""
    nlp = spacy.blank("en")
    patterns = [{"label": "ROOM", "pattern": "bedroom"}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    nlp.to_disk(tmp_path / "ruler")
    return tmp_path / "ruler"


def test_a_pipeline_without_scores(texts, ruler, tmp_path):
    output = tmp_path / "out.jsonl"
    code, printed = run(ruler, texts, output, "-n", 3)
    assert code == 0 and "W711" in printed
    spans = [span for row in read(output) for span in row["spans"]]
    assert spans and all(span["label"] == "ROOM" for span in spans)
    assert not any("score" in span for span in spans)
    code, printed = run(ruler, texts, output, "-n", 3, "--by", "random")
    assert code == 0 and "W711" not in printed


def test_entities_and_spans_of_several_components():
    """Where both are set, and where one carries its score itself."""
    nlp = spacy.blank("en")
    patterns = [{"label": "PLACE", "pattern": "Leyton"}]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    more = [{"label": "FLAT", "pattern": "flat in Leyton"}, patterns[0]]
    nlp.add_pipe("span_ruler", config={"spans_key": "sc"}).add_patterns(more)
    (one,) = Judge(nlp).judge_all(["flat in Leyton"])
    assert one.marks == [Mark(0, 14, "FLAT"), Mark(8, 14, "PLACE")]

    @Language.component("sets_candidates")
    def set_candidates(doc):
        """As `span_finder` does; and of a score of 0 something is known."""
        doc.spans["candidates"] = [doc[0:2], doc[2:3]]
        doc.spans["sc"].attrs["scores"] = [0.0, 0.5]
        return doc

    nlp.add_pipe("sets_candidates")
    judge = Judge(nlp)
    (one,) = judge.judge_all(["flat in Leyton"])
    assert one.marks == [Mark(0, 14, "FLAT", 0.0), Mark(8, 14, "PLACE", 0.5)]
    assert not judge.unscored
    nlp.remove_pipe("sets_candidates")

    @Language.component("sets_own_scores")
    def set_scores(doc):
        for span in (*doc.spans["sc"], *doc.ents):
            span._.score = 0.75
        return doc

    nlp.add_pipe("sets_own_scores")
    Span.set_extension("score", default=None)
    try:
        judge = Judge(nlp)
        (one,) = judge.judge_all(["flat in Leyton"])
    finally:
        Span.remove_extension("score")
    assert [mark.score for mark in one.marks] == [0.75, 0.75]
    assert not judge.unscored


def add_places(nlp):
    """A component that sets entities of its own, before all others."""
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "PLACE", "pattern": [{"IS_TITLE": True}]}])


def test_the_spans_are_those_of_the_component(tiny_backbone):
    nlp = spacy.blank("en")
    config = {"backbone": tiny_backbone, "labels": LABELS, "threshold": 0.01}
    nlp.add_pipe("nuner_concepts", config=config)
    nlp.initialize()
    add_places(nlp)
    texts = [row["text"] for row in read_rows(count=5)]
    for one in Judge(nlp, "nuner_concepts").judge(texts):
        assert one.marks and {mark.label for mark in one.marks} <= set(LABELS)
        assert all(mark.score is not None for mark in one.marks)


def test_the_tool_gets_the_labels_of_all_spans(texts, tiny_backbone, tmp_path):
    nlp = spacy.blank("en")
    config = {"backbone": tiny_backbone, "labels": LABELS}
    nlp.add_pipe("nuner_ner", config=config)
    nlp.initialize()
    add_places(nlp)
    nlp.to_disk(tmp_path / "pipe")
    output = tmp_path / "out.json"
    code, printed = run(tmp_path / "pipe", texts, output, "--format", "label-studio")
    assert code == 0, printed
    assert '<Label value="PLACE"/>' in (tmp_path / "out.xml").read_text("utf8")


def test_labels_of_others_are_checked_before_anything_is_tagged(
    texts, tiny_backbone, tmp_path, monkeypatch
):
    nlp = spacy.blank("en")
    config = {"backbone": tiny_backbone, "labels": LABELS}
    nlp.add_pipe("nuner_ner", config=config)
    nlp.initialize()
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "A PLACE", "pattern": "Leyton"}])
    nlp.to_disk(tmp_path / "pipe")
    monkeypatch.setattr(Judge, "judge", None)
    code, printed = run(tmp_path / "pipe", texts, tmp_path / "out", "--format", "brat")
    assert code == 1 and "N712" in printed and "A PLACE" in printed


def test_only_what_may_be_chosen_is_tagged(nlp):
    """What is labelled is not, and of a random choice a sample alone."""
    tagged = []

    class Remembering(Judge):
        def judge(self, texts):
            # What is labelled comes as docs.
            tagged.extend(text for text in texts if isinstance(text, str))
            return super().judge(texts)

    rows = read_rows(count=40)
    sentences = [Sentence(row["text"]) for row in rows]
    done = [nlp.make_doc(row["text"]) for row in rows[:10]]
    report = SuggestReport()
    options = {"labelled": done, "report": report}
    suggest_tasks(Remembering(nlp), sentences, 4, **options)
    assert tagged == [row["text"] for row in rows[10:]]
    assert report.sentences == 40 and report.labelled == 10
    tagged.clear()
    tasks = suggest_tasks(Remembering(nlp), sentences, 4, by="random", pool_size=6)
    assert len(tagged) == 6 and {task.text for task in tasks} <= set(tagged)


@pytest.mark.parametrize("by", Strategy)
def test_vectors_are_made_where_they_are_used(nlp, by, tmp_path):
    embedded = []

    class Remembering(Judge):
        def embed(self, docs):
            embedded.extend(docs)
            return super().embed(docs)

    docs = read_docs(write_rows(tmp_path / "a.jsonl", read_rows(count=5)))
    sentences = [Sentence(row["text"]) for row in read_rows(count=10)]
    suggest_tasks(Remembering(nlp), sentences, 2, by=by, labelled=docs)
    assert len(embedded) == (5 if by == "cover" else 0)


@Language.component("fails_on_gardens")
def fail(doc):
    if "garden" in doc.text:
        raise ValueError("no gardens")
    return doc


def test_where_the_pipeline_fails(ruler, texts):
    nlp = spacy.load(ruler)
    nlp.add_pipe("fails_on_gardens")
    report = SuggestReport()
    sentences = [Sentence(row["text"], "a", "1") for row in read_rows(count=40)]
    tasks = suggest_tasks(Judge(nlp), sentences, 40, report=report)
    wrong = sum("garden" in one.text for one in sentences)
    assert wrong and report.tally.counts == {"the pipeline failed": wrong}
    assert tasks and not any("garden" in task.text for task in tasks)
    # And on what is labelled: nothing is known of it, but for its labels.
    docs = read_docs(write_rows(ruler.parent / "rows.jsonl", read_rows(count=40)))
    assert any("garden" in doc.text for doc in docs)
    found = judge_labelled(Judge(nlp), docs)
    sound = [doc for doc in docs if "garden" not in doc.text]
    np.testing.assert_array_equal(
        found.vectors, judge_labelled(Judge(nlp), sound).vectors
    )
    assert found.mentions.total() == sum(len(doc.ents) for doc in docs)


def test_why_a_pipeline_fails_on_everything_is_said(ruler, texts, tmp_path):
    nlp = spacy.load(ruler)
    nlp.add_pipe("fails_on_gardens", config={})
    nlp.to_disk(tmp_path / "fails")
    rows = [row for row in read_rows(count=40) if "garden" in row["text"]]
    write_rows(texts, rows)
    code, printed = run(tmp_path / "fails", texts, tmp_path / "out.jsonl")
    assert code == 1 and "N715" in printed and "ValueError: no gardens" in printed


@pytest.mark.parametrize("by", ["random", "cover"])
def test_every_sentence_is_counted_as_it_is_looked_at(nlp, by):
    counts = []
    sentences = [Sentence(row["text"]) for row in read_rows(count=40)]
    suggest_tasks(
        *(Judge(nlp), sentences, 3),
        by=Strategy(by),
        pool_size=10,
        on_batch=lambda count, words: counts.append((count, words)),
    )
    assert sum(count for count, _ in counts) == 40
    assert sum(words for _, words in counts) > 0


def test_a_long_stretch_costs_no_square(ruler):
    # Parentheses split off one by one, each time from what is left.
    nlp = load_pipeline(ruler)
    assert isinstance(nlp.tokenizer, InParts)
    assert len(nlp("(" * 20_000)) == 20_000


def test_what_is_asked_for_has_to_make_sense(
    texts, first, ruler, tmp_path, labels, monkeypatch
):
    from spacy_nuner.labelling import suggest as module

    output = tmp_path / "out.jsonl"
    for args in (
        [texts, output],
        [ruler, texts, output, *first],
        [texts, output, *first[:2]],
        [texts, output, "--labels", labels],
        [ruler, ruler, texts, output],
    ):
        code, printed = run(*args)
        assert code == 1 and "N710" in printed, args
    spacy.blank("en").to_disk(tmp_path / "blank")
    for args in ([tmp_path / "blank"], [ruler, "--pipe-name", "no"]):
        code, printed = run(args[0], texts, output, *args[1:])
        assert code == 1 and "N711" in printed
    code, printed = run(tmp_path / "none", texts, output)
    assert code == 1 and "N650" in printed
    code, printed = run(ruler, texts, output, "--min-words", 70)
    assert code == 1 and "N715" in printed and "outside" in printed
    code, printed = run(texts, tmp_path / "out.txt", *first)
    assert code == 1 and "N107" in printed
    assert not output.exists()
    labels.with_name("blanks.json").write_text(json.dumps(["a b"]))
    with pytest.raises(NunerError, match="N712"):
        suggest(
            None,
            str(texts),
            tmp_path / "brat",
            form="brat",
            backbone=first[1],
            labels=labels.with_name("blanks.json"),
        )
    assert not (tmp_path / "brat").exists()
    # Those of what is labelled are known before the pass as well.
    (row,) = read_rows(count=1)
    row["spans"] = [{**span, "label": "a b"} for span in row["spans"]]
    labelled = write_rows(tmp_path / "labelled.jsonl", [row])
    monkeypatch.setattr(module, "suggest_tasks", None)
    options = {"labelled": labelled, "form": "brat"}
    with pytest.raises(NunerError, match="N712"):
        suggest(ruler, str(texts), tmp_path / "brat", **options)
