"""Concepts are added, described and removed on a live pipeline."""

import itertools
import shutil

import numpy as np
import pytest
import spacy
import srsly
from safetensors.torch import load_file, save_file
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import Config

from spacy_nuner.encoders.folder import BACKGROUND_FILE
from spacy_nuner.errors import NunerError
from spacy_nuner.models.concept_tagger import UNKNOWN
from spacy_nuner.pipeline.label_vectors import LabelVectors
from spacy_nuner.pipeline.labels import Label, parse_labels, read_labels

from ..conftest import one_in
from .conftest import (
    SENTENCES,
    make_examples,
    make_ner,
    make_nlp,
    make_zero_shot,
    spans_of,
    train,
)

TEXT = "Leyton costs 900"


def rows_of(pipe):
    output = pipe.model.get_ref("output_layer").layers[0]
    return {
        label: (output.get_param("W")[i].copy(), float(output.get_param("b")[i]))
        for i, label in enumerate(pipe.labels)
    }


def assert_rows_equal(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_a_removed_concept_leaves_the_others_as_they_were(backbone, tmp_path):
    nlp = make_zero_shot(backbone, labels=["price", "area", "person"])
    pipe = nlp.get_pipe("nuner_concepts")
    nlp(TEXT)
    before = rows_of(pipe)
    pipe.remove_label("price")
    assert pipe.labels == ("area", "person")
    after = rows_of(pipe)
    assert_rows_equal(after["area"], before["area"])
    assert_rows_equal(after["person"], before["person"])
    expected = spans_of(nlp(TEXT))
    assert ("Leyton", "area") in expected
    assert "price" not in {label for _, label in expected}
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    assert again.get_pipe("nuner_concepts").labels == ("area", "person")
    assert spans_of(again(TEXT)) == expected


def test_removing_takes_what_was_set_for_the_concept(backbone):
    labels = {"price": {"name": "area", "description": "a sum"}}
    threshold = {"price": 0.9, "area": 0.2}
    nlp = make_zero_shot(backbone, labels=labels, threshold=threshold)
    pipe = nlp.get_pipe("nuner_concepts")
    pipe.add_label("area")
    pipe.remove_label("price")
    assert pipe.threshold == {"area": 0.2}
    assert pipe.label_data == {"area": None}
    with pytest.raises(NunerError, match="N506.*price.*area"):
        pipe.remove_label("price")


def test_all_concepts_can_go_and_others_come(backbone, tmp_path):
    nlp = make_zero_shot(backbone, labels=["area"])
    pipe = nlp.get_pipe("nuner_concepts")
    nlp(TEXT)
    pipe.remove_label("area")
    assert spans_of(nlp(TEXT)) == []
    nlp.to_disk(tmp_path / "model")
    for some in (nlp, spacy.load(tmp_path / "model")):
        assert some.get_pipe("nuner_concepts").add_label("price") == 1
        assert spans_of(some(TEXT)) == [("900", "price")]


def test_a_concept_can_go_before_the_first_text(backbone):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    nlp.get_pipe("nuner_concepts").remove_label("area")
    assert spans_of(nlp(TEXT)) == [("900", "price")]


def test_training_goes_on_after_a_removal(tiny):
    nlp = make_nlp(tiny, shared=False)
    examples = make_examples(nlp, spans_key="concepts")
    train(nlp, examples)
    before = [spans_of(nlp(text)) for text, _ in SENTENCES]
    pipe = nlp.get_pipe("nuner_concepts")
    pipe.remove_label("AREA")
    rest = [[span for span in spans if span[1] == "PRICE"] for spans in before]
    assert [spans_of(nlp(text)) for text, _ in SENTENCES] == rest != before
    sgd = nlp.resume_training()
    losses = {}
    for _ in range(2):
        nlp.update(examples, sgd=sgd, losses=losses)
    assert 0.0 < losses["nuner_concepts"] < 0.2
    assert pipe.labels == ("PRICE",)


def test_describing_a_concept_that_was_only_named(backbone):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    pipe = nlp.get_pipe("nuner_concepts")
    nlp(TEXT)
    before = rows_of(pipe)
    assert pipe.add_label("area", description="a part of a town") == 0
    after = rows_of(pipe)
    assert_rows_equal(after["price"], before["price"])
    weights, _ = LabelVectors(backbone).get_weights(["area"], ["a part of a town"])
    assert not np.allclose(weights[0], before["area"][0][: weights.shape[1]])
    np.testing.assert_allclose(
        after["area"][0][: weights.shape[1]], weights[0], atol=1e-6
    )
    # Without a description, or with the same, nothing changes.
    pipe.add_label("area")
    pipe.add_label("area", description="a part of a town")
    assert pipe.label_data["area"] == "a part of a town"
    assert_rows_equal(rows_of(pipe)["area"], after["area"])


def test_describing_before_the_first_text(backbone):
    nlp = make_zero_shot(backbone, labels=["area"])
    pipe = nlp.get_pipe("nuner_concepts")
    pipe.add_label("area", description="a part of a town")
    nlp(TEXT)
    weights, _ = LabelVectors(backbone).get_weights(["area"], ["a part of a town"])
    np.testing.assert_allclose(
        rows_of(pipe)["area"][0][: weights.shape[1]], weights[0], atol=1e-6
    )


def test_a_name_in_place_of_the_label(backbone):
    nlp = make_zero_shot(backbone, labels=["X1"])
    pipe = nlp.get_pipe("nuner_concepts")
    nlp(TEXT)
    assert pipe.add_label("X1", name="area") == 0
    assert pipe.add_label("X2", "a sum of money", name="price") == 1
    assert pipe.label_data == {
        "X1": {"name": "area", "description": None},
        "X2": {"name": "price", "description": "a sum of money"},
    }
    words = LabelVectors(backbone).get_weights(
        ["area", "price"], [None, "a sum of money"]
    )
    for i, label in enumerate(["X1", "X2"]):
        weights, bias = rows_of(pipe)[label]
        np.testing.assert_allclose(weights[:32], words[0][i], atol=1e-6)
        assert bias == pytest.approx(words[1][i], abs=1e-6)
    # A name alone leaves the description.
    pipe.add_label("X2", name="sum")
    assert pipe.label_data["X2"] == {"name": "sum", "description": "a sum of money"}


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({"A": {"title": "x"}}, "'A' has .*title"),
        ({"A": {"name": 3}}, "'A' has .*3"),
        ({"A": {"name": " "}}, "'A' has"),
        ({"A": ""}, "'A' has"),
        ([{"label": "A", "title": "x"}], "'A' has .*title"),
        ("A", "found a str"),
        (3, "found a int"),
    ],
)
def test_labels_in_another_form_are_refused(labels, found):
    with pytest.raises(NunerError, match=f"N511.*the test.*{found}"):
        parse_labels(labels, source="the test")


def test_labels_of_a_file(tmp_path):
    path = tmp_path / "labels.json"
    srsly.write_json(path, {"A": "what it means", "B": {"name": "b"}, "C": None})
    assert read_labels(path) == {
        "A": Label(description="what it means"),
        "B": Label("b"),
        "C": Label(),
    }
    srsly.write_json(path, ["A", "B"])
    assert read_labels(path) == {"A": Label(), "B": Label()}
    for content in ("{", '"A"', "[1]"):
        path.write_text(content)
        with pytest.raises(NunerError, match="N511|N501"):
            read_labels(path)
    with pytest.raises(NunerError, match="N511.*none.json"):
        read_labels(tmp_path / "none.json")


ODD = [
    "schema:Person",
    "GO=0008150",
    "#topic",
    ";semi",
    "[x]",
    "x [y",
    "50%",
    "$x",
    "${paths.train}",
    "two\nlines",
    "tab\there",
    " in front",
    "behind ",
    "U.S. city",
    ".",
    "a..b",
    "@misc",
    "*",
    "'quoted'",
    '"quoted"',
    "\\n",
    "Ünïcode 人名 👩‍👩‍👧",
    "true",
    "null",
    "DEFAULT",
    "{}",
    "rem this",
    "x" * 1000,
    "\u3000wide",
    "a\u2028b",
]


def round_trips(nlp, folder):
    nlp.to_disk(folder)
    other = load_model_from_config(Config().from_str(nlp.config.to_str()))
    return [spacy.load(folder), other.from_bytes(nlp.to_bytes())]


@pytest.mark.parametrize("label", one_in(4, ODD))
def test_any_label_is_saved_with_what_is_known_of_it(backbone, tmp_path, label):
    others = [label + "2", label.upper() + ":x"]
    nlp = make_zero_shot(backbone)
    pipe = nlp.get_pipe("nuner_concepts")
    pipe.add_label(label, "somewhere to live", name="area")
    for other in others:
        pipe.add_label(other)
    pipe.threshold = {label: 0.1234567890123456, others[0]: 1e-12}
    for again in round_trips(nlp, tmp_path / "model"):
        found = again.get_pipe("nuner_concepts")
        assert found.labels == pipe.labels == (label, *others)
        assert found.label_data == pipe.label_data
        assert found.threshold == pipe.threshold
        assert spans_of(again(TEXT)) == spans_of(nlp(TEXT)) != []


FORMS = ("list", "objects", "described", "named", "threshold")


@pytest.mark.parametrize("case", one_in(6, itertools.product(ODD, FORMS)), ids=repr)
def test_a_config_holds_a_label_or_it_is_refused(backbone, tmp_path, case):
    """Before anything is written; nothing is lost on the way."""
    label, form = case
    config = {
        "list": {"labels": [label, label + "2"]},
        "objects": {
            "labels": [{"label": label, "name": "area", "description": "a part"}, "x"]
        },
        "described": {"labels": {label: "an area", label + "2": None}},
        "named": {"labels": {label: {"name": "area"}}},
        "threshold": {"labels": [label], "threshold": {label: 0.75}},
    }[form]
    if label.startswith("@") and form in ("described", "named", "threshold"):
        pytest.skip("a key that begins with @ is a function to spaCy, which refuses it")
    try:
        nlp = make_zero_shot(backbone, **config)
    except NunerError as error:
        assert "N512" in str(error)
        assert form in ("described", "named", "threshold") or "${" in label
        return
    pipe = nlp.get_pipe("nuner_concepts")
    for again in round_trips(nlp, tmp_path / "model"):
        found = again.get_pipe("nuner_concepts")
        assert found.labels == pipe.labels
        assert label in found.labels
        assert found.label_data == pipe.label_data
        assert found.threshold == pipe.threshold == config.get("threshold")


def test_a_config_holds_the_key_or_it_is_refused(backbone, tmp_path):
    with pytest.raises(NunerError, match="N512.*spans_key"):
        make_zero_shot(backbone, spans_key="${k}")
    for key in ("#k", "x:y", "a b", "@k"):
        nlp = make_zero_shot(backbone, labels=["area"], spans_key=key)
        for again in round_trips(nlp, tmp_path / "model"):
            assert spans_of(again(TEXT), key) == spans_of(nlp(TEXT), key) != []


def test_a_config_file_with_odd_labels(backbone, tmp_path):
    nlp = make_zero_shot(backbone)
    text = nlp.config.to_str().replace(
        "labels = []",
        'labels = ["#x", {"label": "schema:Person", "description": "a human"}]',
    )
    nlp = load_model_from_config(Config().from_str(text))
    pipe = nlp.get_pipe("nuner_concepts")
    assert pipe.label_data == {"#x": None, "schema:Person": "a human"}


def test_thresholds_of_labels_give_way_to_another_config(backbone, tmp_path):
    nlp = make_zero_shot(backbone, labels=["area"], threshold=0.5)
    nlp.get_pipe("nuner_concepts").threshold = {"area": 0.25}
    nlp.to_disk(tmp_path / "model")

    def load(**config):
        nlp = spacy.load(tmp_path / "model", config=config)
        return nlp.get_pipe("nuner_concepts").threshold

    assert load() == {"area": 0.25}
    for other in (0.75, None):
        assert load(components={"nuner_concepts": {"threshold": other}}) == other


def test_describing_a_trained_concept_says_that_its_weights_stay(backbone, tmp_path):
    nlp = make_ner(backbone)
    examples = make_examples(nlp)
    train(nlp, examples, steps=3)
    nlp.to_disk(tmp_path / "model")
    # What was trained is known after loading, too.
    nlp = spacy.load(tmp_path / "model")
    pipe = nlp.get_pipe("nuner_ner")
    before = rows_of(pipe)
    with pytest.warns(UserWarning, match="W503.*'AREA'"):
        assert pipe.add_label("AREA", description="a part of a town") == 0
    assert_rows_equal(rows_of(pipe)["AREA"], before["AREA"])
    # One that came after the training is still free.
    pipe.add_label("TERM")
    before = rows_of(pipe)
    pipe.add_label("TERM", description="a part of a town")
    assert not np.array_equal(rows_of(pipe)["TERM"][0], before["TERM"][0])


def test_a_label_is_trained_once_its_weights_changed(backbone):
    nlp = make_nlp(backbone, factory="nuner_ner", shared=False)
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("nuner_ner")

    def trained():
        return {label for label, known in pipe._labels.items() if known.trained}

    empty = [Example(nlp.make_doc(TEXT), nlp.make_doc(TEXT))]
    with pytest.warns(UserWarning, match="W511"):
        nlp.update(empty, sgd=optimizer)
    assert not trained()
    # A gradient, and no step.
    pipe.update(examples)
    assert not trained()
    pipe.finish_update(optimizer)
    assert trained() == {"AREA", "PRICE"}


def test_labels_start_from_the_transformer_that_is_there(backbone, tmp_path):
    """Not from the one of an earlier `initialize`, whose vectors are others."""
    other = tmp_path / "other"
    shutil.copytree(backbone, other)
    weights = load_file(other / "concept_encoder" / "model.safetensors")
    changed = {key: value * 1.5 for key, value in weights.items()}
    save_file(changed, other / "concept_encoder" / "model.safetensors")
    nlp = make_nlp(backbone)
    examples = make_examples(nlp, spans_key="concepts")
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("nuner_concepts")
    before = rows_of(pipe)
    nlp.to_disk(tmp_path / "model")

    def replace_transformer(nlp):
        model = {"@architectures": "spacy_nuner.Backbone.v1", "name": str(other)}
        nlp.remove_pipe("transformer")
        nlp.add_pipe("transformer", config={"model": model}, first=True)
        nlp.initialize(lambda: examples)
        return nlp.get_pipe("nuner_concepts")

    expected = make_nlp(str(other))
    expected.initialize(lambda: examples)
    expected = rows_of(expected.get_pipe("nuner_concepts"))
    assert not np.array_equal(expected["AREA"][0], before["AREA"][0])
    for one in (nlp, spacy.load(tmp_path / "model")):
        pipe = replace_transformer(one)
        assert pipe.backbone == str(other)
        for label in ("AREA", "PRICE"):
            assert_rows_equal(rows_of(pipe)[label], expected[label])


def test_what_is_excluded_from_loading_stays_as_it_is(backbone, tmp_path):
    nlp = make_ner(backbone)
    train(nlp, make_examples(nlp), steps=2)
    pipe = nlp.get_pipe("nuner_ner")
    before = rows_of(pipe)
    pipe.to_disk(tmp_path / "pipe")
    pipe.from_disk(tmp_path / "pipe", exclude=["model"])
    pipe.from_bytes(pipe.to_bytes(), exclude=["model"])
    for label in ("AREA", "PRICE"):
        assert_rows_equal(rows_of(pipe)[label], before[label])
    nlp(TEXT)


def test_thresholds_that_were_taken_away_stay_away(backbone, tmp_path):
    nlp = make_zero_shot(backbone, labels=["area"], threshold={"area": 0.3})
    nlp.get_pipe("nuner_concepts").threshold = {}
    nlp.to_disk(tmp_path / "model")
    assert spacy.load(tmp_path / "model").get_pipe("nuner_concepts").threshold == {}


def test_what_is_known_of_labels_is_saved(backbone, tmp_path):
    nlp = make_nlp(backbone, shared=False)
    examples = make_examples(nlp, spans_key="concepts")
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("nuner_concepts")
    pipe.add_label("WAITS")
    pipe.remove_label("PRICE")
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model").get_pipe("nuner_concepts")
    assert again._learned == pipe._learned == {"AREA"}
    assert again._left_out == {"PRICE"} and again._adds_labels
    # Removed, it does not come back with the examples.
    again.update(make_examples(nlp, spans_key="concepts"))
    assert again.labels == ("AREA", "WAITS")


def test_another_backbone_under_the_same_name_is_not_taken(backbone, tmp_path):
    folder = shutil.copytree(backbone, tmp_path / "backbone")
    nlp = make_nlp(str(folder), shared=False)
    examples = make_examples(nlp, spans_key="concepts")
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path / "model")
    same = spacy.load(tmp_path / "model").get_pipe("nuner_concepts")
    same.add_label("area")
    assert rows_of(same)["area"][0].any()
    # Pre-trained again into that folder: its vectors of ordinary text are others.
    path = folder / BACKGROUND_FILE
    vectors = load_file(path)
    save_file({key: rows.flip(0).contiguous() for key, rows in vectors.items()}, path)
    other = spacy.load(tmp_path / "model").get_pipe("nuner_concepts")
    with pytest.warns(UserWarning, match="W510.*another backbone"):
        other.add_label("area")
    assert not rows_of(other)["area"][0].any()
    # Initialized again, it is that one's.
    nlp = spacy.load(tmp_path / "model")
    nlp.initialize(lambda: examples)
    nlp.get_pipe("nuner_concepts").add_label("area")
    assert rows_of(nlp.get_pipe("nuner_concepts"))["area"][0].any()


@pytest.mark.parametrize("hidden_width", [0, 16])
def test_loads_into_one_that_has_read_texts(tiny, hidden_width):
    def make(*labels):
        nlp = make_ner(tiny, shared=False)
        model = nlp.config["components"]["nuner_ner"]["model"]
        model = {"tok2vec": model["tok2vec"], "hidden_width": hidden_width}
        nlp = spacy.blank("en")
        nlp.add_pipe("nuner_concepts", config={"model": model, "labels": list(labels)})
        examples = make_examples(nlp, spans_key="concepts")
        nlp.initialize(lambda: examples)
        return nlp

    saved, live = make("ONE", "TWO", "THREE"), make()
    live(TEXT)
    live.get_pipe("nuner_concepts").remove_label("PRICE")
    live.from_bytes(saved.to_bytes())
    assert (
        live.get_pipe("nuner_concepts").labels
        == saved.get_pipe("nuner_concepts").labels
    )
    found, expected = (
        nlp.get_pipe("nuner_concepts").predict([nlp.make_doc(TEXT)])
        for nlp in (live, saved)
    )
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)


def test_names_are_not_read_into_a_hidden_layer(backbone):
    # The hidden layer is as wide as the vectors: only what it means differs.
    nlp = make_nlp(backbone, shared=False)
    width = 32
    pipe_model = {
        "hidden_width": width,
        "tok2vec": nlp.config["components"]["nuner_concepts"]["model"]["tok2vec"],
    }
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("nuner_concepts", config={"model": pipe_model})
    examples = make_examples(nlp, spans_key="concepts")
    nlp.initialize(lambda: examples)
    pipe.add_label("price")
    weights, bias = rows_of(pipe)["price"]
    assert weights.shape == (width,)
    assert not weights.any() and bias == pytest.approx(UNKNOWN)
    # Nothing is known of it, so it is nowhere, whatever is asked of others.
    pipe.threshold = 0.05
    assert "price" not in {label for _, label in spans_of(nlp(TEXT))}
    # It learns as the others do.
    assert "price" in pipe._learned


def test_descriptions_come_from_the_data(backbone):
    nlp = make_nlp(backbone, labels={"PRICE": "of the config"})
    examples = make_examples(nlp, spans_key="concepts")
    told = [{}, {"AREA": "first", "PRICE": "of the data"}, {"AREA": "second"}]
    for eg, descriptions in zip(examples, told, strict=False):
        eg.reference.spans["concepts"].attrs["descriptions"] = descriptions
    # As they come back from a file.
    for eg in examples:
        data = eg.reference.to_bytes(exclude=["user_data"])
        eg.reference = Doc(nlp.vocab).from_bytes(data)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("nuner_concepts")
    assert pipe.label_data == {"PRICE": "of the config", "AREA": "first"}


def test_labels_and_descriptions_from_a_file(backbone):
    nlp = make_ner(backbone)
    pipe = nlp.get_pipe("nuner_ner")
    examples = make_examples(nlp)
    nlp.get_pipe("transformer").initialize(lambda: examples, nlp=nlp)
    labels = {"price": "a sum", "area": None}
    pipe.initialize(lambda: examples, nlp=nlp, labels=labels)
    assert pipe.label_data == labels
    weights, _ = LabelVectors(backbone).get_weights(["price"], ["a sum"])
    np.testing.assert_allclose(
        rows_of(pipe)["price"][0][: weights.shape[1]], weights[0], atol=1e-6
    )


def test_what_init_labels_writes_is_what_initialize_takes(backbone):
    nlp = make_ner(backbone)
    empty = Example(nlp.make_doc(""), nlp.make_doc(""))
    nlp.initialize(lambda: [*make_examples(nlp), empty])
    told = nlp.get_pipe("nuner_ner").label_data
    again = make_ner(backbone)
    again.config["initialize"]["components"]["nuner_ner"] = {"labels": told}
    again.initialize(lambda: make_examples(again))
    assert again.get_pipe("nuner_ner").label_data == told
