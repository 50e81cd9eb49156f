"""A pipeline that several threads use at once, as servers do."""

import time
from concurrent.futures import ThreadPoolExecutor

from spacy_nuner.pipeline import nuner_concepts as starting

from .conftest import make_zero_shot, spans_of

TEXT = "Leyton costs 900"
FOUND = [("Leyton", "area"), ("900", "price")]


def test_as_one_thread(backbone):
    nlp = make_zero_shot(backbone, concepts=["area", "price"])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: spans_of(nlp(TEXT)), range(100)))
    assert found == [FOUND] * 100


def test_the_second_waits_until_the_first_has_set_up_the_concepts(
    backbone, monkeypatch
):
    nlp = make_zero_shot(backbone, concepts=["area", "price"])
    start = starting.start_from_names

    def slowly(*args):
        time.sleep(0.3)
        start(*args)

    monkeypatch.setattr(starting, "start_from_names", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: spans_of(nlp(TEXT)), range(4)))
    assert found == [FOUND] * 4
