"""995 rows of the published set: the figures measured on them, and the hard ones."""

import pytest
import spacy

from spacy_nuner.corpus.align import (
    BOUNDARIES,
    IGNORING_CASE,
    IGNORING_FORM,
    INSIDE,
    NOT_IN_TEXT,
)
from spacy_nuner.corpus.convert import convert
from spacy_nuner.corpus.row_to_doc import ConvertSettings, process
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources

RAW = ConvertSettings(refused=frozenset(), empty_types=frozenset())
CSV = "nuner-sample/nuner-sample-1k.csv"
JSONL = "nuner-sample/data.jsonl"


@pytest.fixture(scope="module")
def outcomes(data):
    nlp = spacy.blank("en")
    (source,) = find_sources([data / CSV])
    return {
        row.content[0]: process(row, lambda record: nlp(record.text), RAW)
        for row in read_rows(source)
        if row.problem is None
    }


@pytest.mark.parametrize("name", [CSV, JSONL])
def test_the_published_figures(data, tmp_path, name):
    settings = RAW
    report = convert([data / name], tmp_path / "out", settings=settings, progress=False)
    annotations = report["annotations"]
    assert report["records"]["read"] == 995
    assert annotations["read"] == 4326
    matched = annotations["matched"]

    def share(*counts):
        return 100 * sum(counts) / annotations["read"]

    # Counted before: 86.8% verbatim, 9.5% ignoring case, 3.7% not at all. Quotes
    # around an entity, repetitions and names that are too long make the small
    # difference; the step that ignores blanks and quotes finds a third of the last.
    assert share(matched[BOUNDARIES], matched[INSIDE]) == pytest.approx(86.8, abs=0.4)
    assert share(matched[IGNORING_CASE]) == pytest.approx(9.5, abs=0.2)
    lost = annotations["lost"][NOT_IN_TEXT]
    assert share(matched[IGNORING_FORM], lost) == pytest.approx(3.7, abs=0.2)
    assert matched[IGNORING_FORM] >= 45
    assert share(matched[INSIDE]) < 0.6
    assert share(annotations["occurring_more_than_once"]) == pytest.approx(4.1, abs=0.5)
    # 1,562 names when only the case is folded, some of them of lost annotations.
    assert 1500 < report["concepts"]["distinct"] < 1562


def test_the_last_steps_can_be_switched_off(data, tmp_path):
    settings = ConvertSettings(ignore_case=False, empty_types=frozenset())
    report = convert([data / CSV], tmp_path / "out", settings=settings, progress=False)
    annotations = report["annotations"]
    assert annotations["matched"][IGNORING_CASE] == 0
    assert annotations["matched"][IGNORING_FORM] == 0
    share = annotations["lost"][NOT_IN_TEXT] / annotations["read"]
    assert 100 * share == pytest.approx(9.5 + 3.7, abs=0.3)


@pytest.mark.parametrize(
    ("beginning", "concept", "words", "how"),
    [
        ("Go wild crafting", "crafting worksho", ["wreath"], BOUNDARIES),
        ("Please confirm your Wedding", "payment", ["$100. 00 Deposit"], IGNORING_FORM),
        ("Her portfolio includes", "small home design", None, IGNORING_FORM),
        ("Traversing southern China", "action", ["raped"], INSIDE),
        ("Many nnew", "employment", ["nnew jobs"], INSIDE),
        ("Pure Grapeseed oil", "plant species", ["grape vitus vinifera"], None),
        ("Way back in 1570", "time period", [], NOT_IN_TEXT),
        ("Coach 托特包", "authenticity", ["正版Original"], INSIDE),
    ],
)
def test_hard_rows(outcomes, beginning, concept, words, how):
    (outcome,) = [one for text, one in outcomes.items() if beginning in text[:120]]
    found = {
        match.entity.concept: (
            [outcome.doc[a:b].text for a, b in match.spans],
            match.how,
        )
        for match in outcome.matches
    }
    if how == NOT_IN_TEXT:
        assert how in [loss.kind for loss in outcome.lost]
        return
    assert words in (None, found[concept][0])
    assert how in (None, found[concept][1])


def test_rows_without_an_answer(outcomes):
    refused = {
        text[:10]: one.refused.kind for text, one in outcomes.items() if one.refused
    }
    # The one where the model said that there is nothing to annotate.
    assert refused == {"Uz : ? ? ?": "no annotation in the answer"}
    bad = [
        loss for one in outcomes.values() if one.record for loss in one.record.losses
    ]
    assert [loss.kind for loss in bad] == ["no separator"] * 2
