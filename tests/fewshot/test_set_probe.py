import pytest

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.cells import run_cells
from spacy_nuner.fewshot.compare import Dataset, find_backbones
from spacy_nuner.fewshot.draws import draw_docs
from spacy_nuner.fewshot.probe import SetProbe

from ..util import make_tiny_bert


@pytest.fixture(scope="module")
def sets(assets):
    listings = assets / "listings"
    return read_docs(listings / "train.jsonl")[:150], read_docs(listings / "dev.jsonl")


@pytest.fixture(scope="module")
def tiny(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "bert"
    return make_tiny_bert(folder, [doc.text for doc in sets[1]])


def test_the_same_figures_as_the_command_fewshot(tmp_path, sets, tiny):
    train, dev = sets
    scores = SetProbe(train, dev, k=2, draws=2)(*load_encoder(tiny), [-1, -2])
    draws = [[draw_docs(train, 2, seed=seed) for seed in range(2)]]
    dataset = Dataset("listings", train, dev, hashes={})
    backbones = find_backbones([str(tiny)], names=["tiny"], layers=["-1+-2"])
    cells = run_cells([dataset], backbones, {"listings": draws}, tmp_path)
    for key, metric in (("probe_token_f", "macro_token_f"), ("probe_ents_f", "ents_f")):
        expected = sum(cell.scores[metric] for cell in cells) / len(cells)
        assert scores[key] == pytest.approx(expected, abs=1e-6)
        assert scores[key] > 0


def test_the_encoder_is_left_as_it_is(sets, tiny):
    tokenizer, model = load_encoder(tiny)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probe = SetProbe(*sets, k=1, draws=1)
    first = probe(tokenizer, model, [-1])
    assert probe(tokenizer, model, [-1]) == first
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_sets_without_a_label_in_common(sets):
    train, dev = sets
    others = [doc.copy() for doc in dev[:3]]
    for doc in others:
        doc.set_ents([doc.char_span(0, len(doc[0]), "OTHER")])
    with pytest.raises(NunerError, match="N623.*OTHER"):
        SetProbe(train, others, k=1, draws=1)
