"""A pipeline that several threads use at once, as servers do."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from spacy_nuner.pipeline.label_vectors import LabelVectors

from .conftest import make_zero_shot, spans_of

pytestmark = pytest.mark.slow


TEXT = "Leyton costs 900"
FOUND = [("Leyton", "area"), ("900", "price")]


def test_as_one_thread(backbone):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: spans_of(nlp(TEXT)), range(100)))
    assert found == [FOUND] * 100


def test_the_second_waits_until_the_first_has_set_up_the_concepts(
    backbone, monkeypatch
):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    start, starts = LabelVectors.start, []

    def slowly(*args, **more):
        starts.append(args)
        time.sleep(0.3)
        start(*args, **more)

    monkeypatch.setattr(LabelVectors, "start", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: spans_of(nlp(TEXT)), range(4)))
    assert found == [FOUND] * 4
    assert len(starts) == 1


def test_a_start_that_failed_is_tried_again(backbone, monkeypatch):
    nlp = make_zero_shot(backbone, labels=["area", "price"])
    with monkeypatch.context() as patched:
        patched.setattr(LabelVectors, "start", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nlp(TEXT)
    assert spans_of(nlp(TEXT)) == FOUND
