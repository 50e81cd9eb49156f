"""Which types of a test set the pre-training corpus has by name."""

import numpy as np

from spacy_nuner.fewshot.overlap import count_overlap, find_overlap

CONCEPTS = {"city": 9, "DNA": 2, "restaurant name": 1, "town": 3}
# Directions of names: a town is nearly a city, nothing is like a protein.
ANGLES = {"city": 0, "town": 30, "place": 20, "restaurant name": 90, "dna": 180}


def encode(names):
    angles = np.radians([ANGLES.get(name, 270) for name in names])
    # Of any length.
    return 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_exact_folded_similar_and_none_of_it():
    names = {
        **dict.fromkeys(["city", "CITY", "DNA", "Restaurant_Name", "protein"]),
        "LOC": "place",
    }
    found = find_overlap(names, CONCEPTS, encode)
    assert {label: str(one) for label, one in found.items()} == {
        "city": "exact",
        "CITY": "case-folded",
        "DNA": "exact",
        "Restaurant_Name": "case-folded",
        "protein": "nearest: DNA (0.00)",
        "LOC": "similar: town (0.98)",
    }
    assert found["LOC"].name == "place"
    said = count_overlap(found)
    assert "Of the 6 types" in said
    assert "has 2 by exactly that name, 4 case-folded and 5 by a similar name" in said


def test_of_the_long_tail_names_are_still_found(monkeypatch):
    monkeypatch.setattr("spacy_nuner.fewshot.overlap.MOST_COMPARED", 1)
    found = find_overlap({"DNA": None, "place": None}, CONCEPTS, encode)
    assert found["DNA"].exact
    assert found["place"].nearest == "city"
