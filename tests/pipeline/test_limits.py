import pytest
import spacy

from spacy_nuner.errors import NunerError


@pytest.mark.parametrize(
    "config,key",
    [
        ({"threshold": 50}, "threshold = 50"),
        ({"threshold": -0.1}, "threshold"),
        ({"threshold": {"city": 0.5, "year": 1.5}}, "'year': 1.5"),
    ],
)
def test_what_finds_nothing_or_everything_is_refused(config, key):
    with pytest.raises(NunerError, match="N510") as caught:
        spacy.blank("en").add_pipe("nuner_concepts", config=config)
    assert key in str(caught.value)


def test_bounds_are_allowed_and_what_is_set_is_checked():
    for threshold in (0.0, 1.0, {"city": 0.0, "year": 1.0}, None):
        pipe = spacy.blank("en").add_pipe(
            "nuner_concepts", config={"threshold": threshold}
        )
        assert pipe.threshold == threshold
    with pytest.raises(NunerError, match="N510"):
        pipe.threshold = 5.0
    assert pipe.threshold is None
