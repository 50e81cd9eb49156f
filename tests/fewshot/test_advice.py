"""What a user is told of their own labelled texts."""

from dataclasses import replace

import numpy as np
import pytest
import spacy
from spacy.tokens import Span

from spacy_nuner.fewshot.advice import (
    Candidate,
    LabelRow,
    give_advice,
    list_labels,
    to_json,
)
from spacy_nuner.fewshot.cross_validation import Validated
from spacy_nuner.fewshot.extrapolation import Interval, LearningCurve
from spacy_nuner.fewshot.head_choice import JudgedHead

LABELS = ["O", "CITY", "PERSON"]


def make_candidate(name, right, *, tokens=None):
    """Of two entities in each of 20 texts so many are found with 4, 8 and 16 texts."""
    counts = np.zeros((2, 3, 20, 3), dtype="i8")
    for i, found in enumerate(right):
        good = np.where(np.arange(20) < found, 2, 0)
        every = np.full(20, 2)
        counts[:, i] = np.stack([good, every, every], axis=1)
    if tokens is None:
        tokens = np.diag([100, 30, 30])
    table = np.stack([np.diag([100, 10, 10]), np.diag([100, 20, 20]), tokens])
    validated = Validated(LABELS, [4, 8, 16], counts, table, np.arange(20))
    return Candidate(name, "both", validated, LearningCurve(validated))


def test_the_best_is_named_with_what_it_leads_by():
    best, second = (
        make_candidate("nuner", (8, 11, 14)),
        make_candidate("base", (3, 4, 5)),
    )
    advice = give_advice([best, second], []).splitlines()
    assert advice[0].startswith(
        "Take nuner, last + middle layer: the F1 of a linear probe on it, frozen, is "
        "+45 (90% interval +"
    )
    assert advice[0].endswith("points from that of base, last + middle layer.")
    assert advice[1].startswith("Expect an entity F1 of ") and "20 texts" in advice[1]
    assert "from a linear probe" in advice[1]
    assert advice[2].startswith("Twice as many, 40 texts, would bring ")
    assert "a difference of +" in advice[2]
    # No promise of a head that was not measured.
    assert "A trained head usually has more: --heads nuner_ner" in advice[3]


@pytest.mark.parametrize(
    ("lead", "words"),
    [
        ((0.1, 0.02, 0.2), "Take the head"),
        ((0.1, -0.01, 0.2), "The head"),
        ((-0.2, -0.3, -0.1), "The head"),
    ],
)
def test_a_head_that_was_measured_is_named(lead, words):
    candidate = make_candidate("nuner", (8, 11, 14))
    head = JudgedHead("nuner_ner", 16, Interval(0.6, 0.5, 0.7), Interval(*lead))
    other = replace(head, head="linear")
    advice = give_advice([candidate], [], [head, other]).splitlines()[3]
    words += " nuner_ner (configs/ner.cfg), trained with the encoder on 16 of these"
    assert advice.startswith(f"{words} texts, has an entity F1 of 60 (90%")
    value, low, high = (f"{100 * x:+.0f}" for x in lead)
    shown = f"{value} (90% interval {low} to {high}) points from the probe's"
    assert shown in advice
    assert ("can't tell the two apart" in advice) == (lead[1] < 0 < lead[2])
    assert ("teach it less" in advice) == (lead[2] < 0)
    (one, two) = to_json([candidate], [], [head, other])["heads"]
    assert (one["head"], two["head"]) == ("nuner_ner", "linear")
    assert one["over_the_probe"]["low"] == lead[1]


def test_what_can_not_be_told_apart_is_said_to_be_so():
    one, other = make_candidate("a", (8, 11, 14)), make_candidate("b", (8, 11, 14))
    assert "can't tell the two apart" in give_advice([one, other], [])
    alone = give_advice([one], [])
    assert "there was no other backbone to compare it with" in alone


def test_the_best_is_compared_with_another_backbone():
    best, base = make_candidate("nuner", (8, 11, 14)), make_candidate("base", (3, 4, 5))
    last = replace(best, layers="last")
    (advice, *_) = give_advice([best, last, base], []).splitlines()
    assert "points from that of base" in advice
    # Two layer sets of one backbone are no comparison.
    assert "no other backbone" in give_advice([best, last], [])


def test_labels_that_are_short_of_examples_are_those_with_few_or_that_still_rise():
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Ana left Rome")
    doc.ents = [Span(doc, 0, 1, "PERSON"), Span(doc, 2, 3, "CITY")]
    docs = [doc] * 12
    tokens = np.array([[100, 0, 0], [0, 30, 0], [9, 0, 21]])
    candidate = make_candidate("a", (8, 11, 14), tokens=tokens)
    rows = list_labels(candidate, docs)
    assert [(row.label, row.mentions) for row in rows] == [("CITY", 12), ("PERSON", 12)]
    assert rows[0].f == 1 and not rows[0].is_short
    assert rows[1].f == pytest.approx(2 * 21 / 51) and rows[1].rise < 0
    assert LabelRow("x", 9, 1.0, 0.0).is_short
    assert LabelRow("x", 50, 0.5, 0.06).is_short
    assert "No label is short of examples" in give_advice([candidate], rows)
    many = [LabelRow(f"l{i}", i, 0.1, 0.0) for i in range(7)]
    said = give_advice([candidate], many)
    assert "Labels short of examples: l0 (0 mentions, F1 10), l1 (1 mentions" in said
    assert "l4 (4 mentions, F1 10) and 2 more." in said


def test_the_two_labels_that_are_confused_most():
    assert "No two labels are confused" in give_advice(
        [make_candidate("a", (1, 2, 3))], []
    )
    tokens = np.array([[100, 5, 5], [0, 30, 10], [0, 2, 38]])
    candidate = make_candidate("a", (1, 2, 3), tokens=tokens)
    said = give_advice([candidate], [])
    assert "Confused most: CITY and PERSON; 15% of their tokens" in said
