"""A saved pipeline with its concept encoder reads names where the backbone is gone."""

import shutil

import numpy as np
import pytest
import spacy

from .conftest import make_examples, make_nlp, make_zero_shot, spans_of

TEXT = "Leyton costs 900"
PART = "nuner_concepts/concept_encoder"


@pytest.fixture()
def own(backbone, tmp_path):
    """A backbone that a test may delete."""
    return shutil.copytree(backbone, tmp_path / "own")


def named(own, **settings):
    nlp = make_zero_shot(str(own), labels=["area"], **settings)
    assert spans_of(nlp(TEXT)) == [("Leyton", "area")]
    return nlp


def test_concepts_are_added_where_the_backbone_is_gone(own, tmp_path):
    named(own, keep_concept_encoder=True).to_disk(tmp_path / "model")
    shutil.rmtree(own)
    nlp = spacy.load(tmp_path / "model")
    assert nlp.get_pipe("nuner_concepts").add_label("price") == 1
    assert spans_of(nlp(TEXT)) == [("Leyton", "area"), ("900", "price")]
    # Again, over the folder that it was loaded from.
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    again.get_pipe("nuner_concepts").remove_label("price")
    assert again.get_pipe("nuner_concepts").add_label("price", "a sum of money") == 1
    assert ("Leyton", "area") in spans_of(again(TEXT))


def test_the_same_through_bytes(own):
    nlp = named(own, keep_concept_encoder=True)
    data = nlp.to_bytes()
    small = nlp.to_bytes(exclude=["nuner_concepts"])
    other = make_zero_shot(str(own), keep_concept_encoder=True)
    shutil.rmtree(own)
    other.from_bytes(data)
    assert other.get_pipe("nuner_concepts").add_label("price") == 1
    assert spans_of(other(TEXT)) == [("Leyton", "area"), ("900", "price")]
    assert len(data) > len(small)


def test_it_is_left_out_unless_asked_for(own, tmp_path):
    nlp = named(own)
    nlp.to_disk(tmp_path / "model")
    assert not (tmp_path / "model" / PART).exists()
    shutil.rmtree(own)
    for some in (
        spacy.load(tmp_path / "model"),
        make_zero_shot(str(own)).from_bytes(nlp.to_bytes()),
    ):
        pipe = some.get_pipe("nuner_concepts")
        with pytest.warns(UserWarning, match="W501.*backbone.*keep_concept_encoder"):
            assert pipe.add_label("price") == 1
        # The others go on; the new one starts from zero.
        assert spans_of(some(TEXT)) == [("Leyton", "area")]


def test_excluded_and_taken_back(own, tmp_path):
    nlp = named(own, keep_concept_encoder=True)
    pipe = nlp.get_pipe("nuner_concepts")
    with_it, without = pipe.to_bytes(), pipe.to_bytes(exclude=["concept_encoder"])
    assert len(with_it) > len(without)
    place = tmp_path / "model" / PART
    nlp.to_disk(tmp_path / "model")
    assert place.is_dir()
    pipe.keep_concept_encoder = False
    nlp.to_disk(tmp_path / "model")
    assert not place.exists()


def test_nothing_to_keep_is_told(tiny, tmp_path):
    nlp = make_zero_shot(tiny, keep_concept_encoder=True)
    with pytest.warns(UserWarning, match="W504.*pretrain"):
        nlp.to_disk(tmp_path / "model")
    assert spacy.load(tmp_path / "model").pipe_names == ["nuner_concepts"]


def test_of_a_shared_backbone_the_name_is_saved(backbone, tmp_path):
    """`initialize` finds it out, and words are read by it after loading too."""
    nlp = make_nlp(backbone)
    nlp.initialize(lambda: make_examples(nlp, spans_key="concepts"))
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    assert again.get_pipe("nuner_concepts").add_label("price") == 1
    assert ("900", "price") in spans_of(again(TEXT))


def test_what_it_gives_is_the_same_after_the_round_trip(own, tmp_path):
    nlp = named(own, keep_concept_encoder=True)
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    vectors = [
        pipe._get_vectors().get_weights(["price", "area"], ["a sum", None])
        for pipe in (nlp.get_pipe("nuner_concepts"), again.get_pipe("nuner_concepts"))
    ]
    np.testing.assert_array_equal(vectors[0][0], vectors[1][0])
    np.testing.assert_array_equal(vectors[0][1], vectors[1][1])


def test_a_backbone_that_was_moved_is_told_at_loading(own, tmp_path):
    named(own).to_disk(tmp_path / "model")
    moved = own.rename(tmp_path / "moved")
    for _ in range(2):
        nlp = spacy.load(
            tmp_path / "model",
            config={"components": {"nuner_concepts": {"backbone": str(moved)}}},
        )
        assert nlp.get_pipe("nuner_concepts").backbone == str(moved)
        assert nlp.get_pipe("nuner_concepts").add_label("price") == 1
        assert spans_of(nlp(TEXT)) == [("Leyton", "area"), ("900", "price")]
    nlp.to_disk(tmp_path / "again")
    pipe = spacy.load(tmp_path / "again").get_pipe("nuner_concepts")
    assert pipe.backbone == str(moved)


def test_saved_before_the_first_text(own, tmp_path):
    nlp = make_zero_shot(str(own), labels=["area"])
    nlp.to_disk(tmp_path / "model")
    data = make_zero_shot(str(own), labels=["area"]).to_bytes()
    other = make_zero_shot(str(own))
    shutil.rmtree(own)
    for some in (spacy.load(tmp_path / "model"), other.from_bytes(data)):
        assert spans_of(some(TEXT)) == [("Leyton", "area")]
