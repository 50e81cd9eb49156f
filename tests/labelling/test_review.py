"""`review`: labels that recognisers that never saw them disagree with."""

import json

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import loop
from spacy.util import load_config, registry
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.errors import NunerError
from spacy_nuner.labelling import review
from spacy_nuner.labelling.retrain import find_no_end, train_again
from spacy_nuner.labelling.review import find_doubts, review_docs
from spacy_nuner.labelling.suggest import judge_labelled
from spacy_nuner.labelling.tasks import Mark
from spacy_nuner.labelling.uncertainty import Judge

from ..conftest import ROOT
from ..pipeline.conftest import (  # noqa: F401
    make_examples,
    make_ner,
    make_nlp,
    tiny,
    train,
)
from .conftest import read_rows, write_rows

loop_train = loop.train

# In each sentence a place and a price, always in the same way.
PLACES = ["Leyton", "Hackney", "Bow", "Barnet", "Harrow", "Ealing"]


def make_docs(count=12):
    nlp = spacy.blank("en")
    docs = []
    for number in range(count):
        place, price = PLACES[number % len(PLACES)], f"{700 + 10 * number} pounds"
        text = f"flat in {place} for {price} a month"
        doc = nlp(text)
        spans = [(8, 8 + len(place), "AREA")]
        at = text.index(price)
        spans.append((at, at + len(price), "PRICE"))
        doc.ents = [doc.char_span(a, b, label) for a, b, label in spans]
        docs.append(doc)
    return docs


def relabel(doc, number, label):
    copy = doc.copy()
    ents = list(copy.ents)
    old = ents[number]
    ents[number] = Span(copy, old.start, old.end, label)
    copy.ents = ents
    return copy


@pytest.fixture(scope="module")
def recogniser(tiny):  # noqa: F811
    """It has learned five sentences by heart."""
    nlp = make_ner(tiny, shared=False)
    train(nlp, make_examples(nlp))
    return nlp


def test_changed_labels_come_first(recogniser):
    docs = [eg.reference for eg in make_examples(recogniser)]
    right = find_doubts(Judge(recogniser), docs)
    assert max(one.score for one in right) < 0.5
    wrong = [docs[0], relabel(docs[1], 0, "PRICE"), docs[2]]
    found = find_doubts(Judge(recogniser), wrong)
    assert found[1].score > 0.5 > max(found[0].score, found[2].score)
    assert found[1].reason.startswith("'Hackney' is PRICE, found is AREA (")
    assert [mark.label for mark in found[1].marks] == ["PRICE", "PRICE"]
    assert found[1].marks[0].score < 0.5 < found[1].marks[1].score
    # One that was forgotten, and one where there is none.
    missing = docs[2].copy()
    missing.ents = []
    (found,) = find_doubts(Judge(recogniser), [missing])
    assert found.score > 0.5 and "'Leyton' is nothing, found is AREA" in found.reason


def test_a_label_that_was_never_seen_is_not_judged(recogniser):
    docs = [eg.reference for eg in make_examples(recogniser)]
    (found,) = find_doubts(Judge(recogniser), [relabel(docs[2], 0, "NEW")])
    assert found.score < 0.5 and found.marks[0].score == 1.0


def test_a_label_that_is_known_by_name_alone_doubts_no_other(recogniser):
    nlp = spacy.blank(recogniser.lang).from_config(recogniser.config)
    nlp.from_bytes(recogniser.to_bytes())
    pipe = nlp.get_pipe("nuner_ner")
    pipe.add_label("NAMED")
    # It is found everywhere.
    pipe.model.get_ref("output_layer").layers[0].get_param("b")[-1] = 99.0
    docs = [eg.reference for eg in make_examples(nlp)]
    assert min(one.score for one in find_doubts(Judge(nlp), docs)) > 0.9
    found = find_doubts(Judge(nlp), docs, seen=["AREA", "PRICE"])
    right = find_doubts(Judge(recogniser), docs)
    for one, other in zip(found, right, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-6)
        assert one.reason == other.reason


def test_without_probabilities_spans_are_compared():
    nlp = spacy.blank("en")
    patterns = [{"label": "AREA", "pattern": place} for place in PLACES[:3]]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    docs = make_docs(2)
    docs = [relabel(docs[0], 0, "PRICE"), docs[1]]
    wrong, right = find_doubts(Judge(nlp), docs)
    assert wrong.score == 1.0 and "only found: 'Leyton' AREA" in wrong.reason
    assert right.score == 0.5 and "only labelled: '710 pounds' PRICE" in right.reason
    # What it had no example of can't be compared.
    wrong, right = find_doubts(Judge(nlp), docs, seen=["AREA"])
    assert wrong.score == 1.0 and right.score == 0.0 and len(right.marks) == 2


def test_the_gold_is_what_the_component_learns_from(tiny):  # noqa: F811
    nlp = make_nlp(tiny, shared=False, spans_key="sc")
    examples = make_examples(nlp, spans_key="sc")
    train(nlp, examples, steps=20)
    docs = [eg.reference for eg in examples]
    spans = [(s.start_char, s.end_char, s.label_) for s in docs[1].spans["sc"]]
    docs[1].spans["others"] = [Span(docs[1], 0, 3, "ELSE")]
    doubt = find_doubts(Judge(nlp), docs)[1]
    # It is not judged by what it never learned, and nothing is lost.
    assert [mark[:3] for mark in doubt.marks if mark.score is not None] == spans
    assert [mark.label for mark in doubt.marks if mark.score is None] == ["ELSE"]
    labelled = judge_labelled(Judge(nlp), docs)
    assert labelled.mentions.keys() == {"AREA", "PRICE"}
    # A sentence without one of its spans is a sentence without spans.
    docs[0].spans["sc"] = []
    docs[0].spans["others"] = [Span(docs[0], 0, 1, "ELSE")]
    assert Judge(nlp).get_gold(docs[0]) == []
    # Of any other pipeline all groups are.
    other = spacy.blank("en")
    ruler = other.add_pipe("span_ruler", config={"spans_key": "sc"})
    ruler.add_patterns([{"label": "AREA", "pattern": "Leyton"}])
    doc = spacy.blank("en")("flat in Leyton")
    doc.spans["sc"] = [Span(doc, 2, 3, "AREA")]
    (right,) = find_doubts(Judge(other), [doc])
    assert right.score == 0 and right.marks == [Mark(8, 14, "AREA")]
    doc.ents = doc.spans["sc"]
    assert judge_labelled(Judge(other), [doc]).mentions == {"AREA": 1}


def test_labels_that_may_overlap_are_judged_each_by_itself(
    tiny,  # noqa: F811
    monkeypatch,
):
    nlp = make_nlp(tiny, shared=False, spans_key="sc")
    nlp.initialize(lambda: make_examples(nlp, spans_key="sc"))
    judge = Judge(nlp)
    assert judge.pipe.labels == ("AREA", "PRICE")

    def find(area, price, *gold):
        logits = np.full((3, 2), -9.0, "f4")
        logits[2] = [np.log(p / (1 - p)) for p in (area, price)]
        monkeypatch.setattr(judge.pipe, "join_logits", lambda _: (logits, None))
        doc = nlp.make_doc("flat in Leyton")
        doc.spans["sc"] = [Span(doc, 2, 3, label) for label in gold]
        (doubt,) = find_doubts(judge, [doc])
        return doubt

    both = find(0.99, 0.05, "AREA", "PRICE")
    scores = {mark.label: mark.score for mark in both.marks}
    assert scores == pytest.approx({"AREA": 0.99, "PRICE": 0.05}, abs=1e-4)
    assert both.score == pytest.approx(0.95, abs=1e-4)
    assert both.reason == "'Leyton' is PRICE, found is nothing (0.95)"
    one = find(0.99, 0.9, "AREA")
    assert one.reason == "'Leyton' is AREA, found is PRICE (0.90)"
    assert [mark.score for mark in one.marks] == pytest.approx([0.99], abs=1e-4)
    none = find(0.2, 0.8)
    assert none.reason == "'Leyton' is nothing, found is PRICE (0.80)"


def test_a_sentence_that_the_pipeline_fails_on(config, monkeypatch):
    wrong = "Bow"

    def fail(nlp, name):
        def component(doc):
            if wrong in doc.text:
                raise ValueError(f"no {wrong}")
            return doc

        return component

    Language.factory("fails_on_bow", func=fail)
    real = review.train_again

    def train_then_fail(*args, **settings):
        nlp = real(*args, **settings)
        nlp.add_pipe("fails_on_bow", first=True)
        return nlp

    monkeypatch.setattr(review, "train_again", train_then_fail)
    docs = make_docs(6)
    with pytest.warns(UserWarning, match="W715.*1 labelled.*ValueError: no Bow"):
        tasks = review_docs(config, docs, folds=2, steps=1)
    assert len(tasks) == 6 and "Bow" in tasks[-1].text
    assert [mark.label for mark in tasks[-1].marks] == ["AREA", "PRICE"]
    # It is in all of them.
    wrong = "flat"
    with pytest.raises(NunerError, match="N719.*all 6.*ValueError: no flat"):
        review_docs(config, docs, folds=2, steps=1)


@pytest.fixture(scope="module")
def config(tiny_backbone):
    overrides = {"paths.backbone": tiny_backbone, "paths.train": "a", "paths.dev": "b"}
    return load_config(ROOT / "configs" / "ner.cfg", overrides=overrides)


def test_training_anew_is_what_the_config_says(config):
    docs = make_docs(6)
    nlp = train_again(config, docs, steps=3)
    assert nlp.pipe_names == ["transformer", "nuner_ner"]
    assert nlp.get_pipe("nuner_ner").labels == ("AREA", "PRICE")
    # What was handed over stays as it was.
    assert config["paths"]["train"] == "a" and config["training"]["max_steps"] == 150


def test_a_training_with_patience_ends_by_itself(config, monkeypatch):
    """It is judged on sentences that it does not learn from."""
    seen = {}
    config = config.copy()
    config["training"] |= {"max_steps": 0, "max_epochs": 0, "patience": 2}
    config["training"]["eval_frequency"] = 1

    def remember(nlp, *args, **kwargs):
        names = ("train_corpus", "dev_corpus")
        corpora = registry.resolve(nlp.config.interpolate()["corpora"])
        for name in names:
            part = nlp.config["training"][name].split(".")[1]
            seen[part] = {one.text for one in corpora[part](nlp)}
        return loop_train(nlp, *args, **kwargs)

    monkeypatch.setattr(loop, "train", remember)
    docs = make_docs(20)
    train_again(config, docs)
    assert (len(seen["train"]), len(seen["dev"])) == (18, 2)
    assert not seen["train"] & seen["dev"]


def test_a_config_that_has_no_end_is_refused(config):
    config = config.interpolate()
    assert find_no_end(config) is None
    for key in ("max_steps", "max_epochs", "patience"):
        config["training"][key] = 0
    assert "are 0" in find_no_end(config)
    config["training"]["patience"] = 100
    assert find_no_end(config) is None


@pytest.fixture
def folds(monkeypatch):
    """The texts that each fold learned from, and those that it judged."""

    learned, judged = [], []

    def remember_learned(config, docs, **settings):
        learned.append({doc.text.casefold() for doc in docs})
        return train_again(config, docs, **{**settings, "steps": 1})

    def remember_judged(judge, docs, **settings):
        judged.append([doc.text.casefold() for doc in docs])
        return find_doubts(judge, docs, **settings)

    monkeypatch.setattr(review, "train_again", remember_learned)
    monkeypatch.setattr(review, "find_doubts", remember_judged)
    return learned, judged


def test_each_sentence_is_judged_once_and_by_others(config, folds):
    docs = make_docs(6)
    tasks = review_docs(config, docs, folds=2)
    assert sorted(task.text for task in tasks) == sorted(doc.text for doc in docs)
    assert [t.score for t in tasks] == sorted((t.score for t in tasks), reverse=True)
    for learned, judged in zip(*folds, strict=True):
        assert len(learned) == len(judged) == 3 and learned.isdisjoint(judged)
    with pytest.raises(NunerError, match="N714"):
        review_docs(config, docs, folds=4)


def test_a_label_that_one_part_alone_has_is_not_judged(config):
    config = config.copy()
    config["components"]["nuner_ner"]["labels"] = ["AREA", "PRICE", "ROOM"]
    docs = make_docs(6)
    docs[2] = relabel(docs[2], 0, "ROOM")
    tasks = review_docs(config, docs, folds=2, steps=1)
    scores = {mark.label: mark.score for task in tasks for mark in task.marks}
    assert scores["ROOM"] == 1.0 and scores["AREA"] < 1 > scores["PRICE"]


def test_copies_of_a_text_are_judged_together(config, folds):
    docs = make_docs(4)
    shouted = spacy.blank("en")(docs[0].text.upper())
    tasks = review_docs(config, [*docs, *docs, shouted], folds=2)
    for learned, judged in zip(*folds, strict=True):
        assert len(learned) == 2 and len(judged) > 3 and learned.isdisjoint(judged)
    # Each is a task of its own for the tool.
    assert len({task.id for task in tasks}) == len(tasks) == 9
    assert len({task.text for task in tasks}) == 5
    with pytest.raises(NunerError, match="N714"):
        review_docs(config, [*docs, *docs, shouted], folds=3)


def run(*args):
    result = CliRunner().invoke(app, ["review", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), (
        result.exception
    )
    return result.exit_code, " ".join(result.output.split())


def make_pipeline(folder, backbone):
    """A pipeline with a frozen component, saved as `spacy train` does it."""
    nlp = spacy.blank("en")
    nlp.add_pipe("nuner_ner", config={"backbone": backbone, "labels": ["AREA"]})
    nlp.initialize()
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "AREA", "pattern": "Leyton"}])
    nlp.config["training"]["frozen_components"] = ["entity_ruler"]
    nlp.to_disk(folder)
    return folder


def test_frozen_components_are_those_of_the_pipeline(
    tiny_backbone, tmp_path, monkeypatch
):

    pipeline = make_pipeline(tmp_path / "pipe", tiny_backbone)
    labelled = write_rows(tmp_path / "rows.jsonl", read_rows(count=8))
    made = []

    def remember(config, docs, **settings):
        made.append(train_again(config, docs, **settings))
        return made[-1]

    monkeypatch.setattr(review, "train_again", remember)
    options = ["--folds", 2, "--steps", 1]
    output = tmp_path / "out.jsonl"
    code, printed = run(pipeline, labelled, output, *options)
    assert code == 0, printed
    assert len(made) == 2
    for nlp in made:
        assert [one["pattern"] for one in nlp.get_pipe("entity_ruler").patterns] == [
            "Leyton"
        ]
    # What is judged has to be trained.
    nlp = spacy.load(pipeline)
    nlp.config["training"]["frozen_components"] = ["nuner_ner"]
    nlp.to_disk(tmp_path / "frozen")
    code, printed = run(tmp_path / "frozen", labelled, output, *options)
    assert code == 1 and "N718" in printed


def test_a_set_that_names_no_key_is_learned_under_that_of_the_component(
    tiny_backbone, tmp_path, monkeypatch
):

    nlp = spacy.blank("en")
    config = {"backbone": tiny_backbone, "labels": ["AREA"], "spans_key": "sc"}
    nlp.add_pipe("nuner_concepts", config=config)
    nlp.to_disk(tmp_path / "pipe")
    labelled = write_rows(tmp_path / "rows.jsonl", read_rows(count=8))
    learned = []

    def remember(config, docs, **settings):
        learned.extend(len(doc.spans["sc"]) for doc in docs)
        return train_again(config, docs, **settings)

    monkeypatch.setattr(review, "train_again", remember)
    options = ["--folds", 2, "--steps", 1]
    code, printed = run(tmp_path / "pipe", labelled, tmp_path / "out.jsonl", *options)
    assert code == 0, printed
    assert sum(learned) == sum(len(row["spans"]) for row in read_rows(count=8)) > 0


def test_a_config_may_name_its_sentences_itself(tiny_backbone, tmp_path):
    pipeline = make_pipeline(tmp_path / "pipe", tiny_backbone)
    labelled = write_rows(tmp_path / "rows.jsonl", read_rows(count=8))
    config = load_config(pipeline / "config.cfg")
    config["corpora"]["train"]["path"] = "train.spacy"
    config["training"]["max_steps"] = 1
    config.to_disk(pipeline / "config.cfg")
    code, printed = run(pipeline, labelled, tmp_path / "out.jsonl", "--folds", 2)
    assert code == 0, printed


def test_labels_are_checked_before_the_trainings(tiny_backbone, tmp_path, monkeypatch):

    monkeypatch.setattr(review, "review_docs", None)
    pipeline = make_pipeline(tmp_path / "pipe", tiny_backbone)
    rows = read_rows(count=8)
    for row in rows:
        row["spans"] = [{**span, "label": "the area"} for span in row["spans"]]
    labelled = write_rows(tmp_path / "rows.jsonl", rows)
    options = ["--format", "brat", "--steps", 1]
    code, printed = run(pipeline, labelled, tmp_path / "out", *options)
    assert code == 1 and "N712" in printed


def test_the_command(tiny_backbone, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("nuner_ner", config={"backbone": tiny_backbone, "labels": ["AREA"]})
    nlp.to_disk(tmp_path / "pipe")
    labelled = write_rows(tmp_path / "rows.jsonl", read_rows(count=8))
    output = tmp_path / "out.json"
    code, printed = run(tmp_path / "pipe", labelled, output, "--format", "argilla")
    assert code == 1 and "N713" in printed
    args = [tmp_path / "pipe", labelled, output, "--folds", 2, "--steps", 1, "-n", 3]
    code, printed = run(*args, "--format", "argilla")
    assert code == 0 and "3 of 8 labelled sentences" in printed, printed
    records = json.loads(output.read_text("utf8"))
    gold = {row["text"]: row["spans"] for row in read_rows(count=8)}
    assert len(records) == 3
    for record in records:
        assert record["suggestions"]["spans"]["value"] == gold[record["fields"]["text"]]
        assert "found is" in record["metadata"]["reason"]


def test_each_doc_is_judged_by_its_own_labels(tiny):  # noqa: F811
    """By those of the group of spans where it has one, else by its entities."""
    nlp = make_nlp(tiny, shared=False)
    train(nlp, make_examples(nlp, spans_key="concepts"))
    spans = [eg.reference for eg in make_examples(nlp, spans_key="concepts")]
    ents = [eg.reference for eg in make_examples(nlp)]
    wrong = relabel(ents[1], 0, "PRICE")
    alone = find_doubts(Judge(nlp), [wrong])
    beside = find_doubts(Judge(nlp), [spans[0], wrong, spans[2]])
    assert alone[0].score > 0.5
    assert beside[1].score == pytest.approx(alone[0].score, abs=1e-4)
    # A label that is less likely than its threshold is not found.
    nlp.get_pipe("nuner_concepts").threshold = 1.0
    (found,) = find_doubts(Judge(nlp), [wrong])
    assert "found is nothing" in found.reason
