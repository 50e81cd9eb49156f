import numpy as np
import pytest
import torch

from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain import evaluation as validation
from spacy_nuner.pretrain.data.batches import Collator
from spacy_nuner.pretrain.data.features import Features, build_features
from spacy_nuner.pretrain.evaluation import Validation, hold_out
from spacy_nuner.pretrain.model import (
    ContrastiveModel,
    Similarity,
    dense_targets,
    sigmoid_cross_entropy,
)

from .conftest import SENTENCES, write_corpus


@pytest.fixture
def make_features(tmp_path, bert):
    tokenizer, encoder = load_encoder(bert)
    concepts = ConceptEncoder(
        encoder,
        tokenizer,
        pooling="mean",
        template="{name}: {description}",
        max_length=24,
    )

    def make(name, sentences, max_length=60):
        corpus = write_corpus(tmp_path / name / "corpus", sentences)
        folder = tmp_path / name / "features"
        build_features(
            corpus, folder, concept_encoder=concepts, max_length=max_length, quiet=True
        )
        return Features.from_folder(folder)

    make.tokenizer = tokenizer
    return make


def numbered(count):
    return [(f"{i} people live in Nara.", [("Nara", "city", "")]) for i in range(count)]


def rows_of(features):
    return set(features.texts["text_hash"])


def test_a_text_is_held_out_whatever_stands_beside_it(make_features):
    share = 0.2
    train, held_out = hold_out(make_features("a", numbered(300)), share)
    assert len(train.texts) + len(held_out.texts) == 300
    assert 40 <= len(held_out.texts) <= 80
    more = [*SENTENCES, *numbered(300)[::-1], *numbered(100)]
    train_of_more, held_out_of_more = hold_out(make_features("b", more), share)
    assert rows_of(held_out) <= rows_of(held_out_of_more)
    assert not rows_of(train_of_more) & rows_of(held_out_of_more)
    # A larger share holds out what a smaller one does, and more.
    _, half = hold_out(make_features("c", numbered(300)), 0.5)
    assert rows_of(held_out) < rows_of(half)


def test_parts_of_a_long_text_are_on_one_side(make_features):
    sentences = [
        (" ".join(f"{i} people live in Nara and {j} in Łódź." for j in range(9)), i)
        for i in range(20)
    ]
    # A mention from start to end, so that every part has one.
    whole = [(text, [(text, "city", "")]) for text, _ in sentences]
    features = make_features("long", whole, max_length=40)
    assert len(features.texts) > 40
    train, held_out = hold_out(features, 0.5)
    sides = [set(part.texts["text_hash"]) for part in (train, held_out)]
    assert len(sides[0]) + len(sides[1]) == 20
    assert not sides[0] & sides[1]


def test_no_share(make_features):
    features = make_features("a", SENTENCES)
    train, held_out = hold_out(features, 0.0)
    assert len(train.texts) == len(features.texts)
    assert len(held_out.texts) == 0


def test_nothing_left_to_learn_from(make_features):
    with pytest.raises(NunerError, match=r"N315.*0\.999"):
        hold_out(make_features("a", SENTENCES[:1]), 0.999)


def test_average_precision(make_features, monkeypatch):
    features = make_features("a", numbered(400) + SENTENCES)
    check = Validation(features, make_features.tokenizer)
    assert len(check.batches) > 1
    assert sorted(np.concatenate(check.batches)) == list(range(405))
    seen = []

    def answer_with(say):
        def score_pairs(model, *, is_text, concept_ids, positives, **batch):
            targets = dense_targets(positives, int(is_text.sum()), len(concept_ids))
            seen.append(targets)
            return say(targets), targets

        monkeypatch.setattr(validation, "score_pairs", score_pairs)
        return check(torch.nn.Linear(1, 1))

    assert answer_with(lambda targets: targets) == 1.0
    share = torch.cat([targets.flatten() for targets in seen]).mean().item()
    assert answer_with(torch.zeros_like) == pytest.approx(share)
    assert answer_with(lambda targets: -targets) < 2 * share


def test_the_pairs_are_those_of_the_loss(make_features, bert):
    features = make_features("a", SENTENCES)
    tokenizer, text_encoder = load_encoder(bert)
    concepts = ConceptEncoder(
        load_encoder(bert)[1], tokenizer, pooling="mean", template="", max_length=24
    )
    similarity = Similarity(scale=1.5, bias=-2.0)
    model = ContrastiveModel(
        text_encoder, concepts, similarity, sigmoid_cross_entropy, frozen_layers=1
    ).eval()
    batch = Collator(features.concepts, tokenizer, description_dropout=0.5)(
        list(features.texts)
    )
    with torch.no_grad():
        expected = model(**batch)["loss"]
        logits, targets = validation.score_pairs(model, **batch)
        hidden = text_encoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state[batch["is_text"]]
        vectors = concepts(batch["concept_ids"], batch["concept_mask"])
    by_hand = 1.5 * hidden @ vectors.T / hidden.shape[1] ** 0.5 - 2
    torch.testing.assert_close(logits, by_hand)
    loss = sigmoid_cross_entropy(logits, targets)
    assert 0.1 < loss < 10
    torch.testing.assert_close(loss, expected)


def test_without_scikit_learn(make_features, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.metrics", None)
    with pytest.raises(NunerError, match=r"N006.*scikit-learn.*\[pretrain\]"):
        Validation(make_features("a", SENTENCES), make_features.tokenizer)
