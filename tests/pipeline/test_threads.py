"""A pipeline that several threads use at once, as servers do."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from spacy.language import Language

from .conftest import make_zero_shot, spans_of

TEXT = "Leyton costs 900"
FOUND = [("Leyton", "area"), ("900", "price")]


def test_as_one_thread(backbone):
    nlp = make_zero_shot(backbone, concepts=["area", "price"])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: spans_of(nlp(TEXT)), range(100)))
    assert found == [FOUND] * 100


def test_all_wait_until_the_first_has_set_up_the_concepts(backbone):
    for _ in range(5):
        nlp = make_zero_shot(backbone, concepts=["area", "price"])
        together = Barrier(4)

        def find(_: int, nlp: Language = nlp, together: Barrier = together) -> list:
            together.wait(timeout=60)
            return spans_of(nlp(TEXT))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(find, range(4))) == [FOUND] * 4
