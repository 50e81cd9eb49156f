"""The test set of spaCy's span_finder and spancat, for both components."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from spacy_nuner.errors import NunerError
from spacy_nuner.pipeline import label_pipe

from .conftest import (
    SENTENCES,
    ents_of,
    make_examples,
    make_ner,
    make_nlp,
    spans_of,
    train,
)


@pytest.fixture(scope="module")
def trained(tiny):
    nlp = make_ner(tiny)
    train(nlp, make_examples(nlp))
    return nlp


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("factory", ["nuner_ner", "nuner_concepts"])
def test_overfits_five_docs_and_reloads(tiny, tmp_path, shared, factory):
    key = None if factory == "nuner_ner" else "concepts"
    nlp = make_nlp(tiny, shared=shared, factory=factory)
    examples = make_examples(nlp, spans_key=key)
    losses = train(nlp, examples)
    assert losses[factory] < 0.05
    scores = nlp.evaluate(examples)
    assert scores["spans_concepts_f" if key else "ents_f"] == 1.0
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    for text, spans in SENTENCES:
        expected = [(text[start:end], label) for start, end, label in spans]
        for some in (nlp, again):
            doc = some(text)
            assert spans_of(doc, key or "nuner_ner") == expected
            assert ents_of(doc) == ([] if key else expected)


def test_spans_carry_scores(trained):
    doc = trained(SENTENCES[0][0])
    group = doc.spans["nuner_ner"]
    assert len(group) == len(group.attrs["scores"]) == 2
    assert np.all(group.attrs["scores"] > 0.5)
    assert ents_of(doc) == [("Hackney", "AREA"), ("1,650 pcm", "PRICE")]


def test_scores_survive_docbin_without_user_data(trained):
    doc = trained(SENTENCES[0][0])
    data = DocBin(docs=[doc], store_user_data=False).to_bytes()
    back = next(DocBin().from_bytes(data).get_docs(trained.vocab))
    np.testing.assert_allclose(
        back.spans["nuner_ner"].attrs["scores"], doc.spans["nuner_ner"].attrs["scores"]
    )


def test_bytes_round_trip(tiny, trained):
    again = make_ner(tiny).from_bytes(trained.to_bytes())
    text = SENTENCES[0][0]
    assert ents_of(again(text)) == ents_of(trained(text))
    assert again.get_pipe("nuner_ner").labels == ("AREA", "PRICE")


@pytest.mark.slow
def test_loads_in_a_process_that_never_imported_the_package(trained, tmp_path):
    trained.to_disk(tmp_path / "model")
    code = (
        "import spacy, sys; assert 'spacy_nuner' not in sys.modules;"
        f"nlp = spacy.load({str(tmp_path / 'model')!r});"
        f"print([e.label_ for e in nlp({SENTENCES[0][0]!r}).ents])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "['AREA', 'PRICE']"


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_pipe_gives_what_a_call_gives(trained, batch_size):
    texts = ["", " ", *(text for text, _ in SENTENCES), "\n\n", "Hackney " * 200] * 2
    for text, doc in zip(
        texts, trained.pipe(texts, batch_size=batch_size), strict=True
    ):
        alone = trained(text)
        assert ents_of(doc) == ents_of(alone)
        np.testing.assert_allclose(
            doc.spans["nuner_ner"].attrs["scores"],
            alone.spans["nuner_ner"].attrs["scores"],
            atol=1e-4,
        )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" ", []),
        ("\n \t", []),
        ("x", ["x"]),
        ("\n \t900 pcm\n\n", ["900 pcm"]),
        ("👩‍👩‍👧 na\u0308ive \u200d", ["👩‍👩‍👧 na\u0308ive \u200d"]),
        # Far more word pieces than the encoder takes at once.
        ("bed " * 3000, [("bed " * 3000).strip()]),
    ],
)
def test_odd_texts(trained, text, found):
    """Each token has logits, and an entity has no white space at its edges."""
    pipe = trained.get_pipe("nuner_ner")
    doc = trained(text)
    assert doc.text == text
    logits = pipe.predict([doc])
    assert logits[0].shape == (len(doc), 3) and np.isfinite(logits[0]).all()
    # As if every token were of the first label, and none the first of an entity.
    doc.set_ents([])
    pipe.set_annotations([doc], [np.tile(np.asarray([9, 0, -1], "f"), (len(doc), 1))])
    assert ents_of(doc) == [(ent, "AREA") for ent in found]
    assert spans_of(doc, "nuner_ner") == ents_of(doc)
    scores = doc.spans["nuner_ner"].attrs["scores"]
    np.testing.assert_allclose(scores, len(found) * [1.0], atol=0.001)


@pytest.mark.parametrize("texts", [[], [""], ["", " "], ["", "no pets"]])
def test_update_and_score_with_empty_docs(tiny, texts):
    nlp = make_ner(tiny)
    sgd = nlp.initialize(lambda: make_examples(nlp))
    examples = [Example(nlp.make_doc(t), nlp.make_doc(t)) for t in texts]
    losses = {}
    nlp.update(examples, sgd=sgd, losses=losses)
    # Nothing is annotated, so nothing can be learned.
    assert losses.get("nuner_ner", 0.0) == 0.0
    nlp.evaluate(examples)


def test_annotation_with_other_tokens(tiny):
    nlp = make_ner(tiny)
    reference = Doc(nlp.vocab, words=["in", "Hack", "ney", "now"], spaces=[1, 0, 1, 0])
    reference.set_ents([reference.char_span(3, 10, "AREA")])
    example = Example(nlp.make_doc("in Hackney now"), reference)
    train(nlp, [example], steps=60)
    assert ents_of(nlp("in Hackney now")) == [("Hackney", "AREA")]


def test_missing_annotation_is_not_learned(tiny):
    nlp = make_ner(tiny)
    reference = nlp.make_doc("in Hackney now")
    reference.set_ents([reference[1:2]], default="missing")
    reference.set_ents([spacy.tokens.Span(reference, 1, 2, "AREA")], default="missing")
    example = Example(nlp.make_doc("in Hackney now"), reference)
    nlp.initialize(lambda: [example])
    pipe = nlp.get_pipe("nuner_ner")
    _, gradients = pipe.get_loss([example], [np.ones((3, 2), dtype="f")])
    assert gradients[0][:, 0].astype(bool).tolist() == [False, True, False]


@pytest.mark.parametrize("factory", ["nuner_ner", "nuner_concepts"])
def test_gradient_is_that_of_the_loss(tiny, factory):
    nlp = make_nlp(tiny, factory=factory)
    key = None if factory == "nuner_ner" else "concepts"
    examples = make_examples(nlp, spans_key=key)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe(factory)
    rng = np.random.default_rng(0)
    width = 3 if factory == "nuner_ner" else 2
    logits = [rng.normal(size=(len(eg.x), width)) for eg in examples]
    _, gradients = pipe.get_loss(examples, logits)
    for row, column in [(0, 0), (4, 1), (2, 0), *((i, width - 1) for i in range(8))]:
        step = 1e-4
        sides = []
        for sign in (1, -1):
            moved = [array.copy() for array in logits]
            moved[0][row, column] += sign * step
            sides.append(pipe.get_loss(examples, moved)[0])
        slope = (sides[0] - sides[1]) / (2 * step)
        assert gradients[0][row, column] == pytest.approx(slope, abs=1e-5)


def test_labels_can_be_added_after_training(tiny):
    nlp = make_ner(tiny)
    examples = make_examples(nlp)
    train(nlp, examples)
    before = [ents_of(nlp(text)) for text, _ in SENTENCES]
    pipe = nlp.get_pipe("nuner_ner")
    assert pipe.add_label("TERM") == 1
    assert pipe.add_label("TERM") == 0
    # A new label starts at the logit of "none", so it wins nowhere.
    assert [ents_of(nlp(text)) for text, _ in SENTENCES] == before
    sgd = nlp.resume_training()
    nlp.update(examples, sgd=sgd)
    assert pipe.labels == ("AREA", "PRICE", "TERM")


def test_labels_from_a_list(tiny):
    nlp = make_ner(tiny)
    pipe = nlp.get_pipe("nuner_ner")
    nlp.get_pipe("transformer").initialize(lambda: make_examples(nlp), nlp=nlp)
    pipe.initialize(lambda: make_examples(nlp), nlp=nlp, labels=["B", "A"])
    assert pipe.labels == ("B", "A") == tuple(pipe.label_data)


def test_no_labels_is_an_error(tiny):
    nlp = make_ner(tiny)
    with pytest.raises(NunerError, match="N502.*doc.ents"):
        nlp.initialize(lambda: make_examples(nlp, spans_key="concepts"))
    for label in (3, " "):
        with pytest.raises(NunerError, match="N501"):
            nlp.get_pipe("nuner_ner").add_label(label)


@pytest.mark.parametrize(
    ("overwrite", "expected"),
    [(False, [("Hackney for", "OLD"), ("1,650 pcm", "PRICE")]), (True, None)],
)
def test_entities_that_the_doc_has(trained, overwrite, expected):
    pipe = trained.get_pipe("nuner_ner")
    doc = trained.make_doc(SENTENCES[0][0])
    i = [token.text for token in doc].index("Hackney")
    doc.set_ents([spacy.tokens.Span(doc, i, i + 2, "OLD")])
    trained.get_pipe("transformer")(doc)
    logits = pipe.predict([doc])
    pipe.overwrite = overwrite
    try:
        pipe.set_annotations([doc], logits)
    finally:
        pipe.overwrite = False
    both = [("Hackney", "AREA"), ("1,650 pcm", "PRICE")]
    assert ents_of(doc) == (expected or both)
    # The group has the entities of the component alone.
    assert spans_of(doc, "nuner_ner") == (both if overwrite else both[1:])
    assert len(doc.spans["nuner_ner"].attrs["scores"]) == (2 if overwrite else 1)


def test_replace_listeners(trained, tmp_path):
    texts = [text for text, _ in SENTENCES]
    expected = [ents_of(trained(text)) for text in texts]
    trained.to_disk(tmp_path / "shared")
    nlp = spacy.load(tmp_path / "shared")
    nlp.replace_listeners("transformer", "nuner_ner", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    assert [ents_of(nlp(text)) for text in texts] == expected
    nlp.to_disk(tmp_path / "alone")
    again = spacy.load(tmp_path / "alone")
    assert [ents_of(again(text)) for text in texts] == expected


def test_analysis_of_pipes(tiny, trained):
    summary = trained.analyze_pipes()["summary"]
    assert "doc.ents" in summary["nuner_ner"]["assigns"]
    summary = make_nlp(tiny).analyze_pipes()["summary"]
    assert summary["nuner_concepts"]["assigns"] == ["doc.spans"]


@pytest.mark.weekly
@pytest.mark.slow
def test_n_process_in_a_fresh_process(trained, tmp_path):
    trained.to_disk(tmp_path / "model")
    script = tmp_path / "run.py"
    script.write_text(
        "import spacy, torch\n"
        "torch.set_num_threads(1)\n"
        "if __name__ == '__main__':\n"
        f"    nlp = spacy.load({str(tmp_path / 'model')!r})\n"
        f"    texts = {[text for text, _ in SENTENCES] * 4!r}\n"
        "    docs = list(nlp.pipe(texts, n_process=2, batch_size=3))\n"
        "    print(sum(len(doc.ents) for doc in docs))\n"
    )
    out = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert int(out.stdout.split()[-1]) == 4 * sum(len(s) for _, s in SENTENCES)


def test_loads_with_labels_that_differ_from_the_configured_ones(tiny, tmp_path):
    nlp = make_ner(tiny, labels=["OTHER"])
    train(nlp, make_examples(nlp), steps=5)
    nlp.get_pipe("nuner_ner").add_label("LATER")
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    expected = ("OTHER", "AREA", "PRICE", "LATER")
    assert again.get_pipe("nuner_ner").labels == expected
    other = make_ner(tiny, labels=["A", "B"]).from_bytes(nlp.to_bytes())
    assert other.get_pipe("nuner_ner").labels == expected


def test_a_doc_that_is_read_again_keeps_its_scores(tiny):
    nlp = make_ner(tiny)
    train(nlp, make_examples(nlp))
    doc = nlp("Leyton costs 900")
    before = [(span.start, span.label_) for span in doc.spans["nuner_ner"]]
    scores = list(doc.spans["nuner_ner"].attrs["scores"])
    assert before and len(doc.ents) == len(before)
    again = nlp(doc)
    assert [(span.start, span.label_) for span in again.spans["nuner_ner"]] == before
    assert list(again.spans["nuner_ner"].attrs["scores"]) == pytest.approx(scores)
    # What a person took away is found again, once.
    again.set_ents([])
    found = nlp(again).spans["nuner_ner"]
    assert [(span.start, span.label_) for span in found] == before
    assert len(found.attrs["scores"]) == len(before)
    # And what a person set in its place stays, and is none of its own.
    again.set_ents([Span(again, 0, 3, "ELSE")])
    assert not len(nlp(again).spans["nuner_ner"])


def test_settings_come_from_the_config_alone(tiny, tmp_path):
    nlp = make_nlp(tiny, threshold=0.4)
    train(nlp, make_examples(nlp, spans_key="concepts"), steps=1)
    pipe = nlp.get_pipe("nuner_concepts")
    pipe.threshold, pipe.annotate_ents = 0.2, True
    nlp.to_disk(tmp_path / "model")
    config = {
        "components.nuner_concepts.threshold": 0.9,
        "components.transformer.model.window": 20,
    }
    given = spacy.load(tmp_path / "model", config=config)
    assert given.get_pipe("nuner_concepts").threshold == 0.9
    assert given.get_pipe("transformer").model.shims[0].window == 20
    data = make_nlp(tiny, threshold=0.7).from_bytes(nlp.to_bytes())
    assert data.get_pipe("nuner_concepts").threshold == 0.7
    again = spacy.load(tmp_path / "model").get_pipe("nuner_concepts")
    assert again.threshold == 0.4 and not again.annotate_ents
    assert again.labels == pipe.labels
    files = {path.name for path in (tmp_path / "model" / "nuner_concepts").iterdir()}
    assert files == {"labels.json", "model"}


def test_parts_can_be_left_out(trained, tiny, tmp_path):
    pipe = trained.get_pipe("nuner_ner")
    pipe.to_disk(tmp_path / "part", exclude=["model", "vocab"])
    assert [path.name for path in (tmp_path / "part").iterdir()] == ["labels.json"]
    other = make_ner(tiny).get_pipe("nuner_ner")
    other.from_bytes(pipe.to_bytes(exclude=["labels", "model"]))
    assert other.labels == ()
    other.from_disk(tmp_path / "part", exclude=["labels", "model", "vocab"])
    assert other.labels == ()
    other.from_disk(tmp_path / "part", exclude=["model", "vocab"])
    assert other.labels == pipe.labels
    other.from_bytes(pipe.to_bytes(), exclude=["vocab"])
    assert other.labels == pipe.labels


def test_goes_through_pickle(trained):
    again = pickle.loads(pickle.dumps(trained))
    for text, _ in SENTENCES:
        assert ents_of(again(text)) == ents_of(trained(text))


def test_two_of_a_kind(tiny):
    nlp = make_ner(tiny)
    config = nlp.get_pipe_config("nuner_ner")
    nlp.add_pipe("nuner_ner", "second", config={"model": config["model"]})
    examples = make_examples(nlp)
    nlp.get_pipe("second").add_label("AREA")
    losses = train(nlp, examples)
    assert losses["nuner_ner"] < 0.05 and losses["second"] < 0.05
    doc = nlp(SENTENCES[0][0])
    expected = [("Hackney", "AREA"), ("1,650 pcm", "PRICE")]
    assert spans_of(doc, "nuner_ner") == expected == ents_of(doc)
    # What it found is there already.
    assert spans_of(doc, "second") == []


def test_threads_and_the_lock(trained, monkeypatch):
    """A component that has its weights does not take the lock."""
    monkeypatch.setattr(label_pipe, "_STARTING", None)
    assert ents_of(trained(SENTENCES[0][0])) == [
        ("Hackney", "AREA"),
        ("1,650 pcm", "PRICE"),
    ]


def test_shared_with_ner(tiny):
    nlp = make_ner(tiny, overwrite=True)
    listener = {
        "@architectures": "spacy_nuner.BackboneListener.v1",
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    nlp.add_pipe("ner", config={"model": {"tok2vec": listener}}, before="nuner_ner")
    examples = make_examples(nlp)
    losses = train(nlp, examples)
    assert losses["nuner_ner"] < 0.05
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_head_on_a_sourced_and_frozen_transformer(trained, tmp_path):
    trained.to_disk(tmp_path / "model")
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", source=spacy.load(tmp_path / "model"))
    listener = {
        "@architectures": "spacy_nuner.BackboneListener.v1",
        "pooling": {"@layers": "reduce_first.v1"},
    }
    nlp.add_pipe("nuner_ner", config={"model": {"tok2vec": listener}})
    examples = make_examples(nlp)
    # As `spacy train` does it with frozen_components.
    with nlp.select_pipes(disable=["transformer"]):
        nlp.initialize(lambda: examples)
    assert nlp.get_pipe("nuner_ner").backbone
    before = nlp.get_pipe("transformer").model.to_bytes()
    sgd = nlp.create_optimizer()
    sgd.learn_rate = 0.01
    for _ in range(100):
        nlp.update(
            examples, sgd=sgd, exclude=["transformer"], annotates=["transformer"]
        )
    assert nlp.get_pipe("transformer").model.to_bytes() == before
    assert nlp.evaluate(examples)["ents_f"] > 0.5


def test_backbone_that_is_gone(trained, tiny, tmp_path):
    trained.to_disk(tmp_path / "model")
    nlp = spacy.load(tmp_path / "model")
    pipe = nlp.get_pipe("nuner_ner")
    pipe.backbone = str(tmp_path / "gone")
    with pytest.warns(UserWarning, match="W501"):
        assert pipe.add_label("NEW") == 1
    assert nlp(SENTENCES[0][0]).ents


def test_threshold_of_an_unknown_label_is_told(tiny, tmp_path):
    nlp = make_nlp(tiny, labels=["AREA"], threshold={"PRICE": 0.9, "AREA": 0.4})
    pipe = nlp.get_pipe("nuner_concepts")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(nlp, make_examples(nlp, spans_key="concepts"), steps=1)
        assert pipe.thresholds.tolist() == [0.4, 0.9]
    with pytest.warns(UserWarning, match="W502.*AERA"):
        pipe.threshold = {"AERA": 0.9}
    assert pipe.thresholds.tolist() == [0.5, 0.5]
    nlp.to_disk(tmp_path / "model")
    config = {"components": {"nuner_concepts": {"threshold": {"AERA": 0.9}}}}
    with pytest.warns(UserWarning, match="W502.*AERA"):
        spacy.load(tmp_path / "model", config=config)
