"""A tiny backbone and texts that are hard to cut."""

import pytest
import spacy

from tests.util import make_tiny_bert

TEXTS = [
    "Bright two-bed on Alder Street, £1,650 pcm.",
    "Ĉu vi  parolas\n\nEsperanton? 👩‍👩‍👧 naïve café",
    "don't unbelievably-hyphenated antidisestablishmentarianism",
]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tiny") / "bert"
    return str(make_tiny_bert(folder, TEXTS, layers=4, width=16, positions=64))


@pytest.fixture()
def nlp():
    return spacy.blank("en")
