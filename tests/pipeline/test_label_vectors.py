"""Label names as prior knowledge, on a backbone that the test pre-trains."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example
from spacy_transformers import TransformerData

from spacy_nuner.concept_names import readable_name
from spacy_nuner.errors import NunerError
from spacy_nuner.pipeline.calibration import fold_temperature
from spacy_nuner.pipeline.decoding import THRESHOLD
from spacy_nuner.pipeline.label_vectors import (
    DEVIATIONS,
    LabelVectors,
    find_label_vectors,
)

from .conftest import (
    ents_of,
    make_examples,
    make_ner,
    make_nlp,
    make_zero_shot,
    spans_of,
)

pytestmark = pytest.mark.slow


def test_concepts_that_were_only_named(backbone, tmp_path):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    text = "Leyton costs 900"
    assert spans_of(nlp(text)) == [("Leyton", "area"), ("900", "price")]
    # The vectors are in the saved pipeline; the backbone folder is not needed again.
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    assert spans_of(again(text)) == spans_of(nlp(text))


@pytest.mark.parametrize("factory", ["nuner_concepts", "nuner_ner"])
def test_a_label_that_is_named_after_calibration_has_its_scale(
    backbone, tmp_path, factory
):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(factory, config={"backbone": backbone, "labels": ["area"]})
    nlp("Leyton costs 900")
    fold_temperature(pipe, 2.5)
    fold_temperature(pipe, 2.0)
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    pipe = again.get_pipe(factory)
    assert pipe.temperature == 5.0
    pipe.add_label("town", name="area")
    logits, _ = pipe.join_logits(pipe.predict([again.make_doc("Leyton costs 900")]))
    np.testing.assert_allclose(logits[:, 0], logits[:, 1], rtol=1e-3, atol=1e-4)
    # `initialize` begins anew.
    again.initialize()
    assert again.get_pipe(factory).temperature == 1.0


def test_words_that_the_concept_encoder_does_not_read(backbone):
    nlp = make_zero_shot(
        backbone, labels={"area": "a part of a town " * 30, "price": None}
    )
    with pytest.warns(UserWarning, match="W512.*'nuner_concepts'.* area"):
        nlp("Leyton costs 900")
    pipe = nlp.get_pipe("nuner_concepts")
    with pytest.warns(UserWarning, match="W512.* town"):
        pipe.add_label("town", "a place where people live " * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe.add_label("person", "somebody")


def test_concepts_on_the_live_pipeline(backbone):
    nlp = make_zero_shot(backbone, labels={"area": None})
    pipe = nlp.get_pipe("nuner_concepts")
    assert spans_of(nlp("Leyton costs 900")) == [("Leyton", "area")]
    assert pipe.add_label("price", description=None) == 1
    assert spans_of(nlp("Leyton costs 900")) == [("Leyton", "area"), ("900", "price")]


def test_a_new_component_without_its_backbone_has_one_error(tmp_path):
    nlp = make_zero_shot(str(tmp_path / "gone"), labels=["area"])
    with warnings.catch_warnings():
        # W501 is for saved pipelines, whose labels may start from zero.
        warnings.simplefilter("error", UserWarning)
        with pytest.raises(NunerError, match="N001"):
            nlp("Leyton costs 900")
        nlp.to_disk(tmp_path / "model")


def test_named_concepts_can_be_trained_at_once(backbone):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    sgd = nlp.resume_training()
    sgd.learn_rate = 0.01
    doc = nlp.make_doc("Leyton costs 900")
    reference = doc.copy()
    reference.spans["concepts"] = [Span(reference, 0, 1, label="price")]
    for _ in range(30):
        nlp.update([Example(doc.copy(), reference)], sgd=sgd)
    assert ("Leyton", "price") in spans_of(nlp("Leyton costs 900"))


def test_named_concepts_in_several_processes(backbone, tmp_path):
    """Each sets itself up at its first text."""
    script = tmp_path / "run.py"
    config = {"backbone": backbone, "labels": ["area", "price"]}
    script.write_text(
        "import spacy, torch\n"
        "torch.set_num_threads(1)\n"
        "if __name__ == '__main__':\n"
        "    nlp = spacy.blank('en')\n"
        f"    nlp.add_pipe('nuner_concepts', config={config!r})\n"
        "    texts = ['Leyton costs 900'] * 12\n"
        "    docs = nlp.pipe(texts, n_process=2, batch_size=3)\n"
        "    print(*[len(doc.spans['concepts']) for doc in docs], sep='')\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.split()[-1] == "2" * 12


def test_logits_may_be_changed_before_they_are_used(backbone):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    pipe = nlp.get_pipe("nuner_concepts")
    docs = [nlp.make_doc("Leyton costs 900") for _ in range(2)]
    logits = pipe.predict(docs)
    logits[0] = logits[0] - 50
    pipe.set_annotations(docs, logits)
    assert spans_of(docs[0]) == []
    assert spans_of(docs[1]) == [("Leyton", "area"), ("900", "price")]


def test_labels_with_readable_names(backbone):
    nlp = make_zero_shot(backbone, labels={"LOC_1": {"name": "area"}})
    assert spans_of(nlp("Leyton costs 900")) == [("Leyton", "LOC_1")]


def test_logits_are_those_of_the_pre_training_over_what_is_usual(backbone):
    from spacy_nuner.encoders.concept_encoder import ConceptEncoder
    from spacy_nuner.encoders.folder import load_background, read_info

    nlp = make_zero_shot(backbone, labels=["area", "price"])
    doc = nlp("Leyton costs 900")
    pipe = nlp.get_pipe("nuner_concepts")
    info = read_info(backbone)
    h = pipe.model.get_ref("tok2vec").predict([doc])[0]
    w = ConceptEncoder.from_folder(backbone).encode(["area", "price"])
    # The middle layer, which stands behind the last, has no say.
    h = h[:, : w.shape[1]]
    ordinary, here = (
        info.scale * vectors @ w.T / np.sqrt(h.shape[1]) + info.bias
        for vectors in (load_background(backbone), h)
    )
    usual = ordinary.mean(axis=0) + DEVIATIONS * ordinary.std(axis=0)
    expected = here - np.minimum(usual, 0)
    np.testing.assert_allclose(pipe.predict([doc])[0], expected, atol=1e-4)


@pytest.mark.parametrize("start", ["names", "zero"])
def test_training_starts_there(backbone, start):
    nlp = make_ner(backbone)
    # As `spacy train` reads it from [initialize.components.nuner_ner].
    nlp.config["initialize"]["components"]["nuner_ner"] = {"start": start}
    nlp.initialize(lambda: make_examples(nlp))
    expected = [("Leyton", "AREA"), ("900", "PRICE")] if start == "names" else []
    assert ents_of(nlp("Leyton costs 900")) == expected


def test_an_encoder_without_concept_encoder_starts_from_zero(tiny):
    assert find_label_vectors(tiny) is None
    nlp = make_ner(tiny)
    nlp.initialize(lambda: make_examples(nlp))
    assert not nlp("Leyton costs 900").ents


def test_what_cannot_be_read_by_name_is_an_error(tiny):
    with pytest.raises(NunerError, match="N503"):
        make_zero_shot(tiny, labels=["area"])("Leyton")
    nlp = make_nlp(tiny, labels=["area"])
    doc = nlp.make_doc("Leyton")
    doc._.trf_data = TransformerData.empty()
    with pytest.raises(NunerError, match="N504.*initialize"):
        nlp.get_pipe("nuner_concepts").predict([doc])
    # Nor can it be initialized where there is no transformer.
    nlp.remove_pipe("transformer")
    with pytest.raises(NunerError, match="N504"):
        nlp.initialize(lambda: make_examples(nlp, spans_key="concepts"))


def test_a_backbone_is_shared_by_a_transformer_alone(tiny, backbone):
    """Another head's own is not that of the vectors which a listener gets."""
    nlp = make_ner(tiny)
    own = make_nlp(backbone, shared=False).config["components"]["nuner_concepts"]
    config = {"model": {"tok2vec": own["model"]["tok2vec"]}}
    nlp.add_pipe("nuner_concepts", config=config, before="nuner_ner")
    pipe = nlp.get_pipe("nuner_ner")
    assert pipe._find_shared_backbone(nlp) == tiny


@pytest.mark.parametrize(
    "label,name",
    [
        ("PERSON", "person"),
        ("Restaurant_Name", "restaurant name"),
        ("relationshipToHead", "relationship to head"),
        ("cooking-technique", "cooking technique"),
        ("art/film", "art film"),
        ("__", "__"),
    ],
)
def test_readable_names(label, name):
    assert readable_name(label) == name


def test_the_default_threshold_is_one_half(backbone):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    pipe = nlp.get_pipe("nuner_concepts")
    assert pipe.thresholds.tolist() == [THRESHOLD, THRESHOLD]
    pipe.threshold = {"price": 0.3}
    assert pipe.thresholds.tolist() == [THRESHOLD, 0.3]


def test_a_described_label_is_the_mean_of_three_wordings(backbone):
    vectors = LabelVectors(backbone)
    names, texts = ["area", "price"], [None, "a sum of money"]
    weights, _ = vectors.get_weights(names, texts)
    wordings = (["area", "price", "price", texts[1]], [None, None, texts[1], None])
    area, *price = vectors.encoder.encode(*wordings)
    factor = vectors.scale / np.sqrt(len(area))
    np.testing.assert_allclose(weights[0], factor * area, atol=1e-5)
    np.testing.assert_allclose(weights[1], factor * np.mean(price, axis=0), atol=1e-5)
    assert np.abs(weights[1] - factor * price[1]).max() > 1e-3
    # "" is no description.
    bare, _ = vectors.get_weights(["price"], [""])
    np.testing.assert_allclose(bare[0], factor * price[0], atol=1e-5)


def test_no_concept_has_to_be_surer_than_pre_training_was(backbone):
    """In a corpus of one subject a concept may be common, and no logit far from it."""
    vectors = LabelVectors(backbone)
    names = ["area", "price"]
    weights, biases = vectors.get_weights(names, [None, None])
    # Half of ordinary text is what the concept is sure of.
    direction = weights[0] / np.linalg.norm(weights[0])
    vectors.background = np.concatenate([[50 * direction], [-50 * direction]])
    _, common = vectors.get_weights(names, [None, None])
    assert common[0] == pytest.approx(vectors.bias)
    assert biases[0] >= vectors.bias
    # Where nothing is like it, far less is enough.
    vectors.background = np.zeros_like(vectors.background)
    _, rare = vectors.get_weights(names, [None, None])
    assert rare == pytest.approx(0.0)
