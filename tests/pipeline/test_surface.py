"""What spaCy users do with any component: streams, other components, its commands."""

from types import SimpleNamespace

import numpy as np
import pytest
import spacy
import torch
from spacy import displacy
from spacy.cli import app as spacy_app
from spacy.cli.assemble import assemble_cli
from spacy.cli.evaluate import evaluate
from spacy.cli.find_function import find_function
from spacy.cli.find_threshold import find_threshold
from spacy.tokens import DocBin, Span
from spacy.training import Example
from typer.testing import CliRunner

from spacy_nuner.errors import NunerError
from spacy_nuner.models.backbone import find_backbone
from spacy_nuner.pipeline.decoding import set_ents

from .conftest import (
    SENTENCES,
    ents_of,
    make_examples,
    make_nlp,
    make_zero_shot,
    spans_of,
    train,
)

LISTENER = {
    "@architectures": "spacy_nuner.BackboneListener.v1",
    "pooling": {"@layers": "reduce_mean.v1"},
}


@pytest.fixture(scope="module")
def trained(tiny):
    nlp = make_nlp(tiny)
    train(nlp, make_examples(nlp, spans_key="concepts"))
    return nlp


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("surface")
    trained.to_disk(folder / "model")
    docs = [eg.reference for eg in make_examples(trained, spans_key="concepts")]
    DocBin(docs=docs).to_disk(folder / "data.spacy")
    return folder


def test_pipe_as_tuples(trained):
    rows = [(text, {"row": i}) for i, (text, _) in enumerate(SENTENCES)]
    out = list(trained.pipe(rows, as_tuples=True, batch_size=2))
    assert [context["row"] for _, context in out] == list(range(len(rows)))
    for doc, _ in out:
        assert spans_of(doc) == spans_of(trained(doc.text))


def test_pipe_of_docs(trained):
    docs = [trained.make_doc(text) for text, _ in SENTENCES]
    out = list(trained.pipe(docs, batch_size=2))
    assert all(a is b for a, b in zip(docs, out, strict=True))
    assert all("concepts" in doc.spans for doc in docs)


def test_predict_leaves_docs_as_they_are(trained):
    doc = trained.make_doc(SENTENCES[0][0])
    trained.get_pipe("transformer")(doc)
    before = doc.to_bytes(exclude=["user_data"])
    trained.get_pipe("nuner_concepts").predict([doc])
    assert doc.to_bytes(exclude=["user_data"]) == before
    assert "concepts" not in doc.spans


def test_error_handler(saved, monkeypatch):
    nlp = spacy.load(saved / "model")
    pipe = nlp.get_pipe("nuner_concepts")
    predict = pipe.predict

    def fail_on_cats(docs):
        if any("cat" in doc.text for doc in docs):
            raise RuntimeError("a cat")
        return predict(docs)

    monkeypatch.setattr(pipe, "predict", fail_on_cats)
    texts = [text for text, _ in SENTENCES]
    with pytest.raises(RuntimeError, match="a cat"):
        list(nlp.pipe(texts, batch_size=1))
    seen = []
    nlp.set_error_handler(
        lambda name, proc, docs, error: seen.append((name, proc is pipe, str(error)))
    )
    rest = [doc.text for doc in nlp.pipe(texts, batch_size=1)]
    assert rest == [text for text in texts if "cat" not in text]
    assert seen == [("nuner_concepts", True, "a cat")]


def test_plain_update_loop_on_a_shared_transformer(tiny):
    nlp = make_nlp(tiny)
    examples = make_examples(nlp, spans_key="concepts")
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.005
    losses = []
    for _ in range(30):
        told = nlp.update(examples, sgd=sgd, losses={})
        losses.append(told["nuner_concepts"])
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("factory", ["nuner_concepts", "nuner_ner"])
def test_plain_update_moves_the_encoder_less_than_the_head(tiny, factory):
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": {"tok2vec": {"name": tiny}}})
    key = "concepts" if factory == "nuner_concepts" else None
    examples = make_examples(nlp, spans_key=key)
    # The optimizer that spaCy makes where none is set: Adam, 0.001.
    sgd = nlp.initialize(lambda: examples)
    model = nlp.get_pipe(factory).model
    encoder = find_backbone(model).transformer
    before = encoder.encoder.layer[1].output.dense.weight.detach().clone()
    # In the first one the head is still zero, and sends no gradient down.
    for _ in range(2):
        nlp.update(examples, sgd=sgd)
    moved = (encoder.encoder.layer[1].output.dense.weight - before).abs().max().item()
    # The first step of Adam is as long as the rate.
    assert 0 < moved < 0.06 * sgd.learn_rate


def test_a_text_before_the_backbone_is_loaded(tiny):
    nlp = make_nlp(tiny)
    with pytest.raises(NunerError, match="N406.*nlp.initialize"):
        nlp("a flat in Hackney")


def test_resume_training(saved):
    nlp = spacy.load(saved / "model")
    sgd = nlp.resume_training()
    examples = make_examples(nlp, spans_key="concepts")
    first = nlp.update(examples, sgd=sgd, losses={})["nuner_concepts"]
    # It goes on from what was learned, and does not start again.
    assert first < 0.2


def test_rehearsal_changes_nothing(trained):
    pipe = trained.get_pipe("nuner_concepts")
    before = pipe.model.to_bytes()
    sgd = trained.create_optimizer()
    assert pipe.rehearse(make_examples(trained), sgd=sgd) is None
    assert pipe.model.to_bytes() == before


def test_averages_are_used_and_taken_back(saved):
    nlp = spacy.load(saved / "model")
    text = SENTENCES[0][0]
    before = spans_of(nlp(text))
    assert before
    pipe = nlp.get_pipe("nuner_concepts")
    output = pipe.model.get_ref("output_layer").layers[0]
    # As the optimizer keeps them.
    averages = {
        (output.id, name): 0 * output.get_param(name) - 10 for name in ("W", "b")
    }
    with nlp.use_params(averages):
        assert spans_of(nlp(text)) != before
    assert spans_of(nlp(text)) == before


def test_shared_transformer_runs_once_for_two_components(tiny):
    nlp = make_nlp(tiny)
    nlp.add_pipe(
        "ner", config={"model": {"tok2vec": LISTENER}}, before="nuner_concepts"
    )
    examples = make_examples(nlp, spans_key="concepts")
    for eg, other in zip(examples, make_examples(nlp), strict=True):
        eg.reference.set_ents(list(other.reference.ents))
    nlp.initialize(lambda: examples)
    passes = []

    def count(module, inputs, output):
        if type(module).__name__ == "BertModel":
            passes.append(module)

    hook = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        doc = nlp(SENTENCES[0][0])
        assert len(passes) == 1
        nlp.update(examples, sgd=False)
        assert len(passes) == 2
        alone = make_nlp(tiny, shared=False)
        alone.initialize(lambda: make_examples(alone, spans_key="concepts"))
        passes.clear()
        alone(SENTENCES[0][0])
        assert len(passes) == 1
    finally:
        hook.remove()
    assert "concepts" in doc.spans


def test_added_to_a_pipeline_that_has_ner_already(saved):
    # A pipeline of somebody else, with a transformer of ours in it.
    base = spacy.load(saved / "model", exclude=["nuner_concepts"])
    base.add_pipe("ner", config={"model": {"tok2vec": LISTENER}}).add_label("X")
    base.get_pipe("ner").initialize(lambda: make_examples(base), nlp=base)
    before = [ents_of(base(text)) for text, _ in SENTENCES]
    base.add_pipe("nuner_concepts", source=spacy.load(saved / "model"))
    assert [ents_of(base(text)) for text, _ in SENTENCES] == before
    assert spans_of(base(SENTENCES[0][0])) == spans_of(
        spacy.load(saved / "model")(SENTENCES[0][0])
    )


@pytest.mark.parametrize(
    "overwrite,expected",
    [(True, [(0, 2, "B"), (3, 5, "C")]), (False, [(0, 1, "OLD"), (3, 5, "C")])],
)
def test_entities_best_score_first(overwrite, expected):
    doc = spacy.blank("en")("one two three four five")
    doc.set_ents([Span(doc, 0, 1, "OLD")])
    spans = [
        Span(doc, 0, 3, "A"),
        Span(doc, 0, 2, "B"),
        Span(doc, 3, 5, "C"),
        Span(doc, 4, 5, "D"),
        Span(doc, 3, 5, "E"),
    ]
    # A lies over B, which is better; D within C; E is as good as C and comes later.
    ranks = np.asarray([0.7, 0.9, 0.8, 0.6, 0.8])
    chosen = set_ents(doc, spans, ranks, overwrite=overwrite)
    assert chosen == ([1, 2] if overwrite else [2])
    assert [(ent.start, ent.end, ent.label_) for ent in doc.ents] == expected


def test_entities_by_coverage(backbone):
    config = {"threshold": 0.5, "annotate_ents": True}
    nlp = make_zero_shot(backbone, labels=["A", "B"], **config)
    doc = nlp.make_doc("one two three")
    # A has two tokens at 0.7, B one at 0.9.
    probabilities = np.asarray([[0.7, 0.9], [0.7, 0.1], [0.1, 0.1]])
    logits = np.log(probabilities / (1 - probabilities)).astype("f")
    pipe = nlp.get_pipe("nuner_concepts")
    pipe.set_annotations([doc], [logits])
    assert [(ent.start, ent.end, ent.label_) for ent in doc.ents] == [(0, 2, "A")]
    assert len(doc.spans["concepts"]) == 2
    # Entities that the doc has stay, unless they are to be replaced.
    doc.set_ents([Span(doc, 1, 3, "OLD")])
    pipe.set_annotations([doc], [logits])
    assert [ent.label_ for ent in doc.ents] == ["B", "OLD"]
    pipe.overwrite = True
    pipe.set_annotations([doc], [logits])
    assert [ent.label_ for ent in doc.ents] == ["A"]


def test_other_groups_of_spans_stay(trained):
    doc = trained.make_doc(SENTENCES[0][0])
    doc.spans["mine"] = [doc[0:1]]
    trained.get_pipe("transformer")(doc)
    trained.get_pipe("nuner_concepts")(doc)
    assert len(doc.spans["mine"]) == 1 and len(doc.spans["concepts"]) == 2
    assert not doc.ents


def test_spans_key(backbone):
    nlp = make_zero_shot(backbone, labels=["area", "price"], spans_key="sc")
    doc = nlp("Leyton costs 900")
    assert list(doc.spans) == ["sc"]
    reference = nlp.make_doc("Leyton costs 900")
    right = [("Leyton", "area"), ("costs", "price")]
    reference.spans["sc"] = [
        Span(reference, 0, 1, "area"),
        Span(reference, 1, 2, "price"),
    ]
    example = Example(nlp.make_doc(reference.text), reference)
    # One of two is right, and it is learned from there.
    scores = nlp.evaluate([example])
    assert scores["spans_sc_p"] == 0.5 and scores["spans_sc_r"] == 0.5
    assert "ents_f" not in scores
    sgd = nlp.resume_training()
    sgd.learn_rate = 0.01
    for _ in range(30):
        example = Example(nlp.make_doc(reference.text), reference)
        nlp.update([example], sgd=sgd)
    assert spans_of(nlp(reference.text), "sc") == right


def test_displacy_draws_the_spans(trained):
    doc = trained(SENTENCES[0][0])
    markup = displacy.render(doc, style="span", options={"spans_key": "concepts"})
    assert "AREA" in markup and "PRICE" in markup


def test_spacy_evaluate(saved, tmp_path):
    scores = evaluate(
        str(saved / "model"),
        saved / "data.spacy",
        output=tmp_path / "scores.json",
        spans_key="concepts",
        per_component=True,
    )
    assert scores["nuner_concepts"]["spans_concepts_f"] == 1.0
    assert (tmp_path / "scores.json").is_file()


def test_spacy_find_threshold(saved):
    arguments = ("nuner_concepts", "threshold", "spans_concepts_f", "--n_trials", "3")
    command = ["find-threshold", str(saved / "model"), str(saved / "data.spacy")]
    result = CliRunner().invoke(spacy_app, [*command, *arguments])
    assert result.exit_code == 0, result.output
    assert "Best threshold: 0.5" in " ".join(result.output.split())
    best, score, all_scores = find_threshold(
        str(saved / "model"),
        saved / "data.spacy",
        pipe_name="nuner_concepts",
        threshold_key="threshold",
        scores_key="spans_concepts_f",
        n_trials=3,
    )
    assert (best, score) == (0.5, 1.0)
    # Over 0 is the whole text, over 1 nothing.
    assert all_scores[0.0] < 1.0 and all_scores[1.0] == 0.0


def test_spacy_find_function(capsys):
    find_function("spacy_nuner.ConceptTagger.v1", "architectures")
    assert "spacy_nuner/models/concept_tagger.py" in capsys.readouterr().out


def test_spacy_assemble(saved, tmp_path):
    config = tmp_path / "config.cfg"
    config.write_text(
        '[nlp]\nlang = "xx"\npipeline = ["transformer","nuner_concepts"]\n'
        + "[components]\n"
        + "".join(
            f'[components.{name}]\nsource = "{saved / "model"}"\n'
            for name in ("transformer", "nuner_concepts")
        )
    )
    assemble_cli(SimpleNamespace(args=[]), config, tmp_path / "out", None, False)
    doc = spacy.load(tmp_path / "out")(SENTENCES[0][0])
    assert spans_of(doc) == [("Hackney", "AREA"), ("1,650 pcm", "PRICE")]


def test_vectors_can_be_dropped_from_docs(saved):
    nlp = spacy.load(saved / "model")
    text = SENTENCES[0][0]
    full = nlp(text)
    nlp.add_pipe("doc_cleaner", config={"attrs": {"_.trf_data": None}})
    lean = nlp(text)
    assert full._.trf_data is not None and lean._.trf_data is None
    assert spans_of(lean) == spans_of(full)
    sizes = [
        len(DocBin(docs=[doc], store_user_data=True).to_bytes()) for doc in (full, lean)
    ]
    assert sizes[1] < sizes[0] / 2
