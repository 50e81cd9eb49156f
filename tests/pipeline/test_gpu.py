"""A pipeline on a CUDA device does what it does on the processor."""

import pickle

import numpy as np
import pytest
import spacy
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import get_current_ops, set_current_ops
from thinc.util import to_numpy

from .conftest import SENTENCES, make_examples, make_nlp, spans_of, train

pytestmark = pytest.mark.gpu
TEXTS = [text for text, _ in SENTENCES]


@pytest.fixture
def use_device(device):
    """Have spaCy use a device, and at the end what it used before."""
    before = get_current_ops()

    def use(name=device):
        if name == "cpu":
            spacy.require_cpu()
        else:
            spacy.require_gpu()

    yield use
    set_current_ops(before)


@pytest.fixture
def saved(tiny, use_device):
    """A pipeline that was trained on the processor, as bytes, and its config."""
    use_device("cpu")
    nlp = make_nlp(tiny)
    train(nlp, make_examples(nlp, spans_key="concepts"))
    return nlp.config, nlp.to_bytes()


def load(saved, **settings):
    config, content = saved
    config = config.copy()
    config["components"]["transformer"]["model"] |= settings
    return load_model_from_config(config).from_bytes(content)


def predict(nlp):
    """Logits, and spans with their scores."""
    docs = list(nlp.pipe(TEXTS))
    pipe = nlp.get_pipe("nuner_concepts")
    logits = np.concatenate([to_numpy(one) for one in pipe.predict(docs)])
    scores = np.concatenate([doc.spans["concepts"].attrs["scores"] for doc in docs])
    return logits, [spans_of(doc) for doc in docs], scores


def test_predictions_are_those_of_the_processor(saved, use_device):
    expected = predict(load(saved))
    use_device()
    found = predict(load(saved))
    np.testing.assert_allclose(found[0], expected[0], atol=2e-3)
    assert found[1] == expected[1]
    np.testing.assert_allclose(found[2], expected[2], atol=2e-3)


def test_bf16_is_near(saved, use_device):
    expected = predict(load(saved, precision="fp32"))
    use_device()
    found = predict(load(saved, precision="bf16"))
    assert not np.array_equal(found[0], expected[0])
    assert np.abs(found[0] - expected[0]).mean() < 0.1
    assert found[1] == expected[1]


def test_it_learns(tiny, use_device, device):
    use_device()
    nlp = make_nlp(tiny)
    examples = make_examples(nlp, spans_key="concepts")
    empty = Example(nlp.make_doc(""), nlp.make_doc(""))
    losses = train(nlp, [*examples, empty])
    assert losses["nuner_concepts"] < 0.05
    pipe = nlp.get_pipe("nuner_concepts")
    doc = nlp(TEXTS[0])
    # The logits stay where the model is, spans and scores come to the processor.
    assert (type(pipe.predict([doc])[0]) is np.ndarray) == (device == "cpu")
    assert type(doc.spans["concepts"].attrs["scores"]) is np.ndarray
    assert spans_of(doc) == [("Hackney", "AREA"), ("1,650 pcm", "PRICE")]
    pipe.add_label("TERM")
    pipe.remove_label("TERM")
    assert spans_of(nlp(TEXTS[0])) == spans_of(doc)


def test_one_step_is_that_of_the_processor(saved, use_device):
    losses = []
    for name in ("cpu", None):
        use_device(*[name] if name else [])
        nlp = load(saved)
        sgd = nlp.resume_training()
        examples = make_examples(nlp, spans_key="concepts")
        nlp.update(examples, sgd=sgd, drop=0.0, losses=(found := {}))
        nlp.update(examples, sgd=sgd, drop=0.0, losses=found)
        losses.append(found["nuner_concepts"])
    # The encoder has dropout of its own, and devices draw differently.
    assert losses[1] == pytest.approx(losses[0], abs=0.3)


def test_what_was_saved_on_the_device_loads_on_the_processor(saved, use_device):
    use_device()
    nlp = load(saved)
    expected = predict(nlp)
    pickled, content = pickle.dumps(nlp), nlp.to_bytes()
    assert predict(pickle.loads(pickled))[1] == expected[1]
    use_device("cpu")
    found = predict(load((nlp.config, content)))
    np.testing.assert_allclose(found[0], expected[0], atol=2e-3)
    assert found[1] == expected[1]
