"""What spaCy does with components: disabled, sourced, with other keys and labels."""

import io
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_loop
from spacy.util import load_config

from spacy_nuner.errors import NunerError
from spacy_nuner.pipeline.targets import get_targets

from ..conftest import ROOT
from .conftest import (
    SENTENCES,
    ents_of,
    make_examples,
    make_ner,
    make_zero_shot,
    spans_of,
    train,
)

TEXT = SENTENCES[0][0]


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    """Two heads on one transformer, saved."""
    folder = tmp_path_factory.mktemp("saved") / "two heads"
    nlp = make_ner(tiny, lang="en")
    tok2vec = nlp.get_pipe_config("nuner_ner")["model"]["tok2vec"]
    nlp.add_pipe("nuner_concepts", config={"model": {"tok2vec": tok2vec}})
    examples = make_examples(nlp)
    for eg in examples:
        eg.reference.spans["concepts"] = list(eg.reference.ents)
    train(nlp, examples, steps=60)
    nlp.to_disk(folder)
    return folder


@pytest.fixture
def nlp(saved):
    return spacy.load(saved)


# A transformer that did not run


def excluded(saved):
    return spacy.load(saved, exclude=["transformer"])


def disabled(saved):
    return spacy.load(saved, disable=["transformer"])


def selected(saved):
    nlp = spacy.load(saved)
    nlp.select_pipes(enable=["nuner_ner", "nuner_concepts"])
    return nlp


def disabled_live(saved):
    nlp = spacy.load(saved)
    nlp.disable_pipe("transformer")
    return nlp


def removed(saved):
    nlp = spacy.load(saved)
    nlp.remove_pipe("transformer")
    return nlp


def sourced_alone(saved):
    nlp = spacy.blank("en")
    for name in ("nuner_ner", "nuner_concepts"):
        nlp.add_pipe(name, source=spacy.load(saved))
    return nlp


WAYS = [excluded, disabled, selected, disabled_live, removed, sourced_alone]


@pytest.mark.parametrize("way", WAYS)
def test_a_head_without_its_transformer_says_so(saved, way):
    nlp = way(saved)
    with pytest.raises(NunerError, match="N516.*'nuner_ner'.*'transformer'.*1 of 1"):
        nlp(TEXT)
    with pytest.raises(NunerError, match="N516.*2 of 2"):
        list(nlp.pipe([TEXT, "", TEXT]))
    with pytest.raises(NunerError, match="N516"):
        nlp.evaluate(make_examples(nlp))
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(nlp, TEXT) for _ in range(4)]:
            with pytest.raises(NunerError, match="N516"):
                future.result()
    assert not nlp("").ents
    # An own handler of errors is called once for the docs that are at stake.
    told = []
    nlp.set_error_handler(lambda name, pipe, docs, error: told.append(len(docs)))
    assert list(nlp.pipe([TEXT] * 5)) == []
    assert told == [5]


@pytest.mark.weekly
@pytest.mark.slow
def test_a_head_without_its_transformer_in_fresh_processes(saved):
    """Where nobody registered `doc._.trf_data`, and in workers."""
    code = (
        "import spacy, torch; torch.set_num_threads(1);"
        f"nlp = spacy.load({str(saved)!r}, exclude=['transformer']);"
        f"print(len(list(nlp.pipe([{TEXT!r}] * 4, n_process=N, batch_size=2))))"
    )
    for n_process in ("1", "2"):
        out = subprocess.run(
            [
                sys.executable,
                "-c",
                code.replace("n_process=N", f"n_process={n_process}"),
            ],
            capture_output=True,
            text=True,
        )
        assert out.returncode == 1
        assert "N516" in out.stderr


def test_vectors_of_another_transformer(saved, tiny, tmp_path):
    nlp = spacy.load(saved)
    model = nlp.get_pipe_config("transformer")["model"]
    nlp.add_pipe("transformer", "second", config={"model": model}, before="nuner_ner")
    tok2vec = nlp.get_pipe_config("nuner_ner")["model"]["tok2vec"]
    tok2vec["upstream"] = "transformer"
    nlp.add_pipe("nuner_ner", "third", config={"model": {"tok2vec": tok2vec}})
    with pytest.raises(NunerError, match="N520.*'third'.*'transformer'.*'second' runs"):
        nlp.initialize(lambda: make_examples(nlp))
    # The last one is what it may listen to.
    nlp.remove_pipe("third")
    tok2vec["upstream"] = "second"
    nlp.add_pipe("nuner_ner", "third", config={"model": {"tok2vec": tok2vec}})
    nlp.initialize(lambda: make_examples(nlp))
    # Of another width: one hidden layer instead of two.
    other = spacy.blank("en")
    model = {"@architectures": "spacy_nuner.Backbone.v1", "name": tiny}
    model["hidden_layers"] = [-1]
    other.add_pipe("transformer", config={"model": model})
    other.initialize()
    other.add_pipe("nuner_ner", source=spacy.load(saved))
    with pytest.raises(NunerError, match="N521.*width 64; .* width 32"):
        other(TEXT)


@pytest.mark.parametrize("name", ["nuner_ner", "nuner_concepts"])
def test_told_once_that_there_is_nothing_to_learn(nlp, name):
    examples = make_examples(nlp)
    for eg in examples:
        spans = list(eg.reference.ents)
        eg.reference.spans["sc"] = spans
        if name == "nuner_ner":
            words = [token.text for token in eg.reference]
            bare = Doc(nlp.vocab, words=words)
            bare.spans["sc"] = [bare[span.start : span.end] for span in spans]
            eg.reference = bare
    where = r"doc\.ents" if name == "nuner_ner" else r'doc\.spans\["concepts"\]'
    with nlp.select_pipes(enable=["transformer", name]):
        with pytest.warns(UserWarning, match=rf'W511.*{where}; .*spans\["sc"\]'):
            losses = nlp.update(examples)
        assert losses[name] == 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            nlp.update(examples)


def test_annotating_without_the_transformer(saved):
    nlp = spacy.load(saved)
    with pytest.raises(NunerError, match="N516.*annotating_components, put 'transf"):
        nlp.update(make_examples(nlp), annotates=["nuner_ner"])


def test_what_has_vectors_needs_no_transformer(nlp, saved):
    """Docs that it ran on before, and a head with a copy of its own."""
    doc = nlp.get_pipe("transformer")(nlp.make_doc(TEXT))
    expected = ents_of(nlp(TEXT))
    assert expected
    assert ents_of(nlp.get_pipe("nuner_ner")(doc)) == expected
    nlp.replace_listeners("transformer", "nuner_ner", ["model.tok2vec"])
    nlp.replace_listeners("transformer", "nuner_concepts", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    assert ents_of(nlp(TEXT)) == expected


# Another key of spans


def test_another_key_is_scored_without_further_settings(tiny, tmp_path):
    nlp = spacy.blank("en")
    docs = [eg.reference for eg in make_examples(nlp, spans_key="sc")]
    DocBin(docs=docs).to_disk(tmp_path / "sc.spacy")
    overrides = {
        "paths.train": str(tmp_path / "sc.spacy"),
        "paths.dev": str(tmp_path / "sc.spacy"),
        "paths.backbone": tiny,
        "components.nuner_concepts.spans_key": "sc",
        "training.max_steps": 60,
        "training.eval_frequency": 60,
        "training.optimizer.learn_rate.initial_rate": 0.05,
    }
    config = load_config(ROOT / "configs/concepts.cfg", overrides, interpolate=False)
    trained = init_nlp(config)
    (tmp_path / "out").mkdir()
    train_loop(trained, tmp_path / "out", stdout=io.StringIO(), stderr=io.StringIO())
    again = spacy.load(tmp_path / "out" / "model-last")
    found = again.meta["performance"]
    assert found["spans_concepts_f"] > 0.5
    scores = again.evaluate(make_examples(again, spans_key="sc"))
    assert scores["spans_sc_f"] == scores["spans_concepts_f"]
    assert scores["spans_sc_per_type"] == scores["spans_concepts_per_type"]


def test_the_default_key_is_not_overwritten(backbone):
    nlp = make_zero_shot(backbone, labels=["area"], spans_key="sc")
    doc = nlp.make_doc("Leyton costs 900")
    doc.spans["sc"] = [Span(doc, 0, 1, "area")]
    doc.spans["concepts"] = []
    scores = nlp.evaluate([Example(nlp.make_doc(doc.text), doc)])
    assert scores["spans_sc_f"] == 1.0
    assert "spans_concepts_f" not in scores


# Labels that are not known, and spans that can't be aligned


def add_city(nlp, key):
    doc = nlp.make_doc("Porto is cheap")
    spans = [Span(doc, 0, 1, "CITY")]
    if key == "concepts":
        doc.spans[key] = spans
    else:
        doc.set_ents(spans)
    return Example(nlp.make_doc(doc.text), doc)


@pytest.mark.parametrize("name", ["nuner_ner", "nuner_concepts"])
def test_labels_that_a_loaded_head_does_not_know_are_added(saved, name):
    nlp = spacy.load(saved)
    other = "nuner_ner" if name == "nuner_concepts" else "nuner_concepts"
    nlp.remove_pipe(other)
    pipe = nlp.get_pipe(name)
    before = pipe.labels
    expected = spans_of(nlp(TEXT), pipe.spans_key)
    sgd = nlp.resume_training()
    sgd.learn_rate = 0.02
    eg = add_city(nlp, pipe.spans_key)
    with pytest.warns(UserWarning, match="W508.*CITY"):
        nlp.update([eg], sgd=None)
    assert pipe.labels == (*before, "CITY")
    # What was learned of the others stays.
    assert set(expected) <= set(spans_of(nlp(TEXT), pipe.spans_key))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        nlp.update([eg], sgd=sgd)
    targets, known, *_ = get_targets([eg], pipe.labels, spans_key=pipe.gold_key)
    assert targets[0].tolist() == [0, 0, 1] and known.all()


def test_labels_given_to_initialize_are_all_that_is_learned(tiny):
    nlp = make_ner(tiny)
    examples = make_examples(nlp)
    pipe = nlp.get_pipe("nuner_ner")
    nlp.get_pipe("transformer").initialize(lambda: examples, nlp=nlp)
    pipe.initialize(lambda: examples, nlp=nlp, labels=["AREA"])
    with pytest.warns(UserWarning, match="W509.*PRICE"):
        nlp.update(examples)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        nlp.update(examples)
    assert pipe.labels == ("AREA",)


def test_a_sourced_head_trains_on_new_labels(saved, tmp_path):
    nlp = spacy.blank("en")
    docs = [add_city(nlp, "ents").reference for _ in range(4)]
    DocBin(docs=docs).to_disk(tmp_path / "city.spacy")
    overrides = {
        "paths.train": str(tmp_path / "city.spacy"),
        "paths.dev": str(tmp_path / "city.spacy"),
        "training.max_steps": 30,
        "training.eval_frequency": 30,
        "training.optimizer.learn_rate.initial_rate": 0.02,
    }
    config = load_config(ROOT / "configs/ner.cfg", overrides, interpolate=False)
    for name in ("transformer", "nuner_ner"):
        config["components"][name] = {"source": str(saved)}
    config["initialize"]["components"] = {}
    trained = init_nlp(config)
    with pytest.warns(UserWarning, match="W508.*CITY"):
        train_loop(trained, stdout=io.StringIO(), stderr=io.StringIO())
    assert "CITY" in trained.get_pipe("nuner_ner").labels
    assert ents_of(trained("Porto is cheap")) == [("Porto", "CITY")]


def test_spans_that_fit_no_predicted_token_are_unknown(nlp):
    coarse = Doc(nlp.vocab, words=["New", "York-based", "firm"])
    fine = Doc(
        nlp.vocab,
        words=["New", "York", "-based", "firm"],
        spaces=[True, False, True, False],
    )
    nlp.vocab.strings.add("city")
    fine.spans["concepts"] = [Span(fine, 0, 2, label="city")]
    fine.ents = list(fine.spans["concepts"])
    for key in ("concepts", None):
        targets, known, *_ = get_targets(
            [Example(coarse, fine)], ["city"], spans_key=key
        )
        assert known.tolist() == [False, False, True]
        assert not targets.any()
    # Finer ones can be aligned.
    targets, known, *_ = get_targets(
        [Example(fine, fine)], ["city"], spans_key="concepts"
    )
    assert known.all()
    assert targets[:, 0].tolist() == [1, 1, 0, 0]


# Entities that are there already


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["nuner_ner", "nuner_concepts"])
def test_blocked_tokens_stay_blocked(nlp, name, overwrite):
    for other in {"nuner_ner", "nuner_concepts"} - {name}:
        nlp.remove_pipe(other)
    pipe = nlp.get_pipe(name)
    pipe.annotate_ents, pipe.overwrite = True, overwrite
    doc = nlp(TEXT)
    assert ents_of(doc) == [("Hackney", "AREA"), ("1,650 pcm", "PRICE")]
    area, price = doc.ents
    blocked = nlp.make_doc(TEXT)
    blocked.set_ents([], blocked=[blocked[area.start : area.end]], default="unmodified")
    once = nlp(blocked)
    for found in (once, nlp(once)):
        assert ents_of(found) == [("1,650 pcm", "PRICE")]
        tags = [(token.ent_iob_, token.ent_type_) for token in found]
        assert tags[area.start] == ("B", "")
        assert tags[0] == ("O", "")
    # One blocked token takes the entity that would reach over it.
    partly = nlp.make_doc(TEXT)
    partly.set_ents([], blocked=[partly[price.start : price.start + 1]])
    assert ents_of(nlp(partly)) == [("Hackney", "AREA")]


@pytest.mark.parametrize("overwrite", [False, True])
def test_missing_and_outside_tokens_may_become_entities(nlp, overwrite):
    nlp.remove_pipe("nuner_concepts")
    nlp.get_pipe("nuner_ner").overwrite = overwrite
    for default in ("missing", "outside"):
        doc = nlp.make_doc(TEXT)
        preset = Span(doc, 0, 1, label="KIND", kb_id="Q1")
        doc.set_ents([preset], default=default)
        doc = nlp(doc)
        expected = [("Hackney", "AREA"), ("1,650 pcm", "PRICE")]
        if not overwrite:
            expected.insert(0, (TEXT.split("-")[0], "KIND"))
            assert doc.ents[0].kb_id_ == "Q1"
        assert ents_of(doc) == expected


def test_partial_annotation_is_not_learned_as_nothing(tiny):
    nlp = make_ner(tiny)
    doc = nlp.make_doc("Hackney costs 900")
    doc.set_ents([Span(doc, 0, 1, "AREA")], outside=[doc[1:2]], default="missing")
    blocked = nlp.make_doc("Hackney costs 900")
    blocked.set_ents([Span(doc, 0, 1, "AREA")], blocked=[blocked[2:3]])
    for reference, expected in ((doc, [1, 1, 0]), (blocked, [1, 1, 0])):
        eg = Example(nlp.make_doc(doc.text), reference)
        gold = get_targets([eg], ["AREA"], spans_key=None)
        assert gold.known.tolist() == expected


# And what else is done with components


def test_rename_pipe_and_two_heads(nlp):
    expected = ents_of(nlp(TEXT))
    nlp.rename_pipe("nuner_ner", "entities")
    doc = nlp(TEXT)
    assert ents_of(doc) == expected
    assert spans_of(doc, "concepts")
    nlp.update(make_examples(nlp))
    assert ents_of(nlp(TEXT))


def test_frozen_and_annotating_components(saved, tmp_path):
    nlp = spacy.blank("en")
    docs = [eg.reference for eg in make_examples(nlp)]
    DocBin(docs=docs).to_disk(tmp_path / "docs.spacy")
    overrides = {
        "paths.train": str(tmp_path / "docs.spacy"),
        "paths.dev": str(tmp_path / "docs.spacy"),
        "training.max_steps": 2,
        "training.eval_frequency": 1,
        "training.frozen_components": ["transformer"],
        "training.annotating_components": ["transformer", "nuner_ner"],
    }
    config = load_config(ROOT / "configs/ner.cfg", overrides, interpolate=False)
    for name in ("transformer", "nuner_ner"):
        config["components"][name] = {"source": str(saved)}
    config["initialize"]["components"] = {}
    trained = init_nlp(config)
    before = trained.get_pipe("transformer").model.to_bytes()
    train_loop(trained, stdout=io.StringIO(), stderr=io.StringIO())
    assert trained.get_pipe("transformer").model.to_bytes() == before
    assert ents_of(trained(TEXT))


def test_parts_and_joins_of_docs(nlp):
    docs = [nlp(TEXT), nlp("Hackney , 900 a month")]
    part = docs[0][2:6].as_doc()
    assert ents_of(nlp(part)) == ents_of(part) != []
    joined = Doc.from_docs(docs)
    found = nlp(joined)
    # Entities that are there stay, and spans are found in both.
    assert len(found.spans["concepts"]) >= 3
    assert ents_of(found)[:2] == ents_of(docs[0])


@pytest.mark.parametrize("text", ["", " ", "\n", "\n\n\n", ".", "\u200d"])
def test_docs_of_nearly_nothing(nlp, text):
    doc = nlp(text)
    assert not doc.ents
    assert [len(d) for d in nlp.pipe([text, TEXT, text])][0] == len(doc)
    nlp.update([Example(nlp.make_doc(text), nlp.make_doc(text)), *make_examples(nlp)])


def test_ten_thousand_tokens_are_what_their_lines_are(nlp):
    lines = [text for text, _ in SENTENCES] * 400
    doc = nlp("\n".join(lines))
    assert len(doc) > 10_000
    alone = sum(len(nlp(text).ents) for text, _ in SENTENCES)
    assert len(doc.ents) == 400 * alone
    scores = doc.spans["nuner_ner"].attrs["scores"]
    assert np.all(scores > 0)


@pytest.mark.parametrize("sentencizer", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_document_is_what_its_sentences_are(tiny, sentencizer, shared):
    """Behind a transformer and with an encoder of its own, from text to entities."""
    nlp = make_ner(tiny, shared=shared)
    train(nlp, make_examples(nlp), steps=60)
    if sentencizer:
        nlp.add_pipe("sentencizer", first=True)
    texts = [text for text, _ in SENTENCES]
    alone = [ent for text in texts for ent in ents_of(nlp(text))]
    assert alone
    for separator in ("\n", "\n\n", "\r\n"):
        assert ents_of(nlp(separator.join(texts))) == alone
    assert ents_of(nlp(" . ".join(map(str.capitalize, texts)))) != []
