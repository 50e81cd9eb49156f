"""Neighbouring entities of one label."""

import pickle

import numpy as np
import pytest
import spacy
import srsly
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_nuner.demo.finder import SpanFinder
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.heads import Task, Training, fit_head
from spacy_nuner.labelling.uncertainty import Judge
from spacy_nuner.pipeline.calibration import get_labelled_logits
from spacy_nuner.pipeline.decoding import decode
from spacy_nuner.pipeline.targets import get_targets

from .conftest import ents_of, make_ner, train

# "Hackney" and "Leyton" are two areas one after the other, "two-bed flat" is one span.
SENTENCES = [
    (
        ["flats", "in", "Hackney", "Leyton", "two-bed", "for", "900"],
        [(2, 3, "AREA"), (3, 4, "AREA"), (6, 7, "PRICE")],
    ),
    (["Leyton", "Hackney", "is", "cheap"], [(0, 1, "AREA"), (1, 2, "AREA")]),
    (["a", "two-bed", "flat", "in", "Leyton"], [(1, 3, "ROOMS"), (4, 5, "AREA")]),
    (["Hackney", "900", "pcm"], [(0, 1, "AREA"), (1, 3, "PRICE")]),
    ([], []),
]
WORDS = SENTENCES[0][0]
AREAS = [("Hackney", "AREA"), ("Leyton", "AREA")]
TOK2VEC = {
    "@architectures": "spacy_nuner.BackboneListener.v1",
    "pooling": {"@layers": "reduce_first.v1"},
}


def make_docs(vocab):
    docs = []
    for words, spans in SENTENCES:
        doc = Doc(vocab, words=words)
        doc.set_ents([Span(doc, *span) for span in spans])
        docs.append(doc)
    return docs


def make_examples(nlp):
    references = make_docs(nlp.vocab)
    return [
        Example(Doc(nlp.vocab, words=[token.text for token in doc]), doc)
        for doc in references
    ]


def make_old(tiny, **settings):
    """A pipeline as it was before there were boundaries."""
    nlp = make_ner(tiny)
    nlp.remove_pipe("nuner_ner")
    model = {"@architectures": "spacy_nuner.ConceptTagger.v1", "tok2vec": TOK2VEC}
    nlp.add_pipe("nuner_ner", config={"model": model | settings})
    return nlp


def apply(nlp, words=WORDS):
    doc = Doc(nlp.vocab, words=words)
    for _, pipe in nlp.pipeline:
        doc = pipe(doc)
    return doc


@pytest.fixture(scope="module")
def trained(tiny):
    nlp = make_ner(tiny)
    train(nlp, make_examples(nlp))
    return nlp


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("boundaries") / "model"
    trained.to_disk(folder)
    return folder


def test_at_a_boundary_a_label_goes_on_as_another_span():
    logits = np.asarray([[9, 0], [9, 0], [9, 0], [0, 9], [0, 9]], dtype="f")
    begins = np.asarray([True, False, True, False, False])
    spaces = np.zeros(5, bool)
    found = decode(logits, [3, 2], spaces, thresholds=None, begins=begins)
    assert list(zip(*(column.tolist() for column in found[:4]), strict=True)) == [
        (0, 0, 2, 0),
        (0, 2, 3, 0),
        (1, 0, 2, 1),
    ]


@pytest.mark.parametrize("at", [1, 2])
def test_white_space_at_a_boundary_is_of_no_span(at):
    logits, begins = np.full((3, 1), 9, dtype="f"), np.zeros(3, bool)
    begins[at] = True
    spaces = np.asarray([False, True, False])
    found = decode(logits, [3], spaces, thresholds=None, begins=begins)
    assert list(zip(found.starts, found.ends, strict=True)) == [(0, 1), (2, 3)]


def test_targets_are_asked_for_where_a_label_goes_on():
    examples = make_examples(spacy.blank("en"))
    gold = get_targets(examples, ["AREA", "PRICE"], spans_key=None)
    lengths = [len(words) for words, _ in SENTENCES]
    found = np.split(gold.asked, np.cumsum(lengths)[:-1])
    # ROOMS is none of the labels.
    assert [np.flatnonzero(one).tolist() for one in found] == [[3], [1], [], [2], []]
    assert np.flatnonzero(gold.begins[:, 0]).tolist() == [3, lengths[0] + 1]


def test_targets_with_other_tokens_and_missing_annotation():
    nlp = spacy.blank("en")
    reference = Doc(nlp.vocab, words=["Hack", "ney", "Leyton"], spaces=[0, 1, 0])
    spans = [Span(reference, 0, 2, "AREA"), Span(reference, 2, 3, "AREA")]
    reference.set_ents(spans)
    example = Example(Doc(nlp.vocab, words=["Hackney", "Leyton"]), reference)
    gold = get_targets([example], ["AREA"], spans_key=None)
    assert gold.begins[:, 0].tolist() == [0.0, 1.0]
    assert gold.asked.tolist() == [False, True]
    reference.set_ents(spans[:1], default="missing")
    gold = get_targets([example], ["AREA"], spans_key=None)
    assert not gold.asked.any() and gold.known.tolist() == [True, False]


def test_gradient_of_boundaries_is_that_of_the_loss(trained):
    pipe, examples = trained.get_pipe("nuner_ner"), make_examples(trained)
    # A token is not annotated.
    reference = examples[3].reference
    reference.set_ents([reference.ents[0]], default="missing")
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=(len(eg.x), 4)) for eg in examples]
    _, gradients = pipe.get_loss(examples, logits)
    step = 1e-4
    for number, array in enumerate(logits):
        for row in range(len(array)):
            losses = []
            for sign in (1, -1):
                moved = [one.copy() for one in logits]
                moved[number][row, -1] += sign * step
                losses.append(pipe.get_loss(examples, moved)[0])
            slope = (losses[0] - losses[1]) / (2 * step)
            assert gradients[number][row, -1] == pytest.approx(slope, abs=1e-6)
    assert np.count_nonzero(np.concatenate(gradients)[:, -1]) == 3


def test_neighbours_are_learned(trained):
    for words, spans in SENTENCES:
        doc = apply(trained, words)
        assert [(ent.start, ent.end, ent.label_) for ent in doc.ents] == spans
        assert len(doc.spans["nuner_ner"].attrs["scores"]) == len(spans)


def test_without_the_column_neighbours_are_one(tiny, tmp_path):
    nlp = make_old(tiny)
    train(nlp, make_examples(nlp))
    expected = ents_of(apply(nlp))
    assert expected[0] == ("Hackney Leyton", "AREA")
    nlp.to_disk(tmp_path)
    assert ents_of(apply(spacy.load(tmp_path))) == expected


def test_data_without_neighbours_splits_nothing(tiny):
    nlp = make_ner(tiny)
    train(nlp, make_examples(nlp)[2:])
    assert ents_of(apply(nlp, SENTENCES[2][0])) == [
        ("two-bed flat", "ROOMS"),
        ("Leyton", "AREA"),
    ]


def test_saved_and_copied_with_its_boundaries(trained, saved):
    again = spacy.blank(trained.lang).from_config(trained.config)
    again.from_bytes(trained.to_bytes())
    listening = spacy.load(saved)
    listening.replace_listeners("transformer", "nuner_ner", ["model.tok2vec"])
    pickled = pickle.loads(pickle.dumps(trained))
    for nlp in (spacy.load(saved), again, pickled, listening):
        assert ents_of(apply(nlp)) == ents_of(apply(trained))


def test_labels_come_and_go_and_boundaries_stay(saved):
    nlp = spacy.load(saved)
    pipe = nlp.get_pipe("nuner_ner")
    pipe.remove_label("PRICE")
    pipe.add_label("PARK")
    assert [one for one in ents_of(apply(nlp)) if one[1] == "AREA"] == AREAS


def test_a_start_from_nothing_splits_nothing(trained, saved):
    nlp = spacy.load(saved)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("nuner_ner")
    doc = nlp.get_pipe("transformer")(Doc(nlp.vocab, words=WORDS))
    _, boundary = pipe.join_logits(pipe.predict([doc]))
    assert not boundary.any()


def test_logits_of_another_model_are_refused(trained):
    pipe = trained.get_pipe("nuner_ner")
    with pytest.raises(NunerError, match="N518.*3 columns; expected are 4"):
        pipe.join_logits([np.zeros((2, 3), dtype="f")])


def test_a_component_of_overlapping_spans_has_no_boundaries(tiny):
    model = {"@architectures": "spacy_nuner.EntityTagger.v1", "tok2vec": TOK2VEC}
    with pytest.raises(NunerError, match="N514.*'nuner_concepts'.*ConceptTagger"):
        make_ner(tiny).add_pipe("nuner_concepts", config={"model": model})


def test_calibration_counts_what_evaluation_does(saved):
    nlp = spacy.load(saved)
    pipe, references = nlp.get_pipe("nuner_ner"), make_docs(nlp.vocab)
    docs = [Doc(nlp.vocab, words=words) for words, _ in SENTENCES]
    docs = [nlp.get_pipe("transformer")(doc) for doc in docs]
    assert get_labelled_logits(pipe, docs, references).get_f1(None) == 1.0


def test_the_demo_finds_neighbours(saved):
    finder = SpanFinder.load(str(saved), pipe_name=None, lang="en")
    scored = finder.score("Leyton Hackney is cheap")
    spans, _ = scored.find(np.zeros(3))
    assert [span.text for span in spans] == ["Leyton", "Hackney"]


def test_suggestions_have_neighbours(saved):
    (found,) = Judge(spacy.load(saved)).judge_all(["Leyton Hackney is cheap"])
    assert (found.starts[:2], found.ends[:2]) == ([0, 7], [6, 14])
    assert [(mark.start, mark.end) for mark in found.marks] == [(0, 6), (7, 14)]


@pytest.mark.parametrize("head, count", [("nuner_ner", 2), ("linear", 1)])
def test_the_head_of_a_comparison_finds_neighbours(tiny, head, count):
    docs = make_docs(spacy.blank("en").vocab)[:4]
    task = Task(
        docs=docs,
        labels=["O", "AREA", "PRICE", "ROOMS"],
        backbone=tiny,
        hidden_layers=[-1],
        tuned=True,
        rates=(0.005, 0.005),
        steps=100,
        seed=0,
        training=Training(),
        meanings={},
    )
    (doc,) = fit_head(head, task)(docs[1:2])
    assert len(doc.ents) == count


@pytest.mark.parametrize("width", [16, 48])
def test_a_hidden_layer_of_another_width_is_saved(tiny, tmp_path, width):
    old, new = make_old(tiny, hidden_width=width), make_ner(tiny)
    new.remove_pipe("nuner_ner")
    model = {"@architectures": "spacy_nuner.EntityTagger.v1", "tok2vec": TOK2VEC}
    new.add_pipe("nuner_ner", config={"model": model | {"hidden_width": width}})
    for number, nlp in enumerate((old, new)):
        train(nlp, make_examples(nlp), steps=2)
        nlp.to_disk(tmp_path / str(number))
        loaded = spacy.load(tmp_path / str(number))
        assert ents_of(apply(loaded)) == ents_of(apply(nlp))


@pytest.mark.parametrize(
    "name, value",
    [
        ("W", np.zeros((2, 32), dtype="f")),
        ("W", np.zeros((1, 31), dtype="f")),
        ("b", np.zeros(2, dtype="f")),
        ("b", np.full(1, np.nan, dtype="f")),
        ("W", np.zeros((1, 32))),
    ],
)
def test_damaged_boundaries(trained, name, value):
    spoiled = spoil(trained.get_pipe("nuner_ner").to_bytes(), name, value)
    copied = pickle.loads(pickle.dumps(trained)).get_pipe("nuner_ner")
    with pytest.raises(NunerError, match="N023"):
        copied.from_bytes(spoiled)


def spoil(content, name, value):
    """Give the boundary in the bytes of a component another parameter."""
    parts = srsly.msgpack_loads(content)
    model = srsly.msgpack_loads(parts["model"])
    # The only layer with one output.
    (params,) = [one for one in model["params"] if one and one["b"].shape == (1,)]
    params[name] = value
    parts["model"] = srsly.msgpack_dumps(model)
    content = srsly.msgpack_dumps(parts)
    return content
