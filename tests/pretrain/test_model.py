import pytest
import torch

from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.pretrain.data.batches import Collator
from spacy_nuner.pretrain.model import (
    ContrastiveModel,
    Similarity,
    sigmoid_cross_entropy,
)


def softmax_cross_entropy(logits, targets):
    """Another mean over the rows, in which the pairs of a row are not independent."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


@pytest.fixture
def batch(features, concept_encoder):
    tokenizer = concept_encoder.tokenizer
    return Collator(features.concepts, tokenizer, description_dropout=0.5)(
        list(features.texts)
    )


@pytest.fixture
def learn(base, concept_encoder, batch):
    """Loss and gradients of a batch, so many pairs at once."""

    def learn(objective, pairs):
        model = ContrastiveModel(
            load_encoder(base)[1],
            concept_encoder,
            Similarity(scale=1.5, bias=-2.0),
            objective,
            frozen_layers=1,
            pairs_at_once=pairs,
        )
        model.zero_grad()
        loss = model.eval()(**batch)["loss"]
        loss.backward()
        gradients = {
            name: parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
        return loss, gradients

    return learn


@pytest.mark.parametrize("objective", [sigmoid_cross_entropy, softmax_cross_entropy])
@pytest.mark.parametrize("pairs", [1, 50, 300])
def test_in_chunks_it_is_the_same_loss(learn, objective, pairs):
    whole, expected = learn(objective, 1_000_000)
    loss, gradients = learn(objective, pairs)
    torch.testing.assert_close(loss, whole)
    assert gradients.keys() == expected.keys()
    assert len(gradients) > 20
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-3)


def test_no_more_logits_than_fit_are_made_at_once(learn, batch):
    shapes = []

    def note(logits, targets):
        shapes.append(tuple(logits.shape))
        return sigmoid_cross_entropy(logits, targets)

    learn(note, 60)
    concepts, pieces = len(batch["concept_ids"]), int(batch["is_text"].sum())
    assert all(rows * columns <= 60 for rows, columns in shapes)
    assert {columns for _, columns in shapes} == {concepts}
    # Once forward, once again for the gradient.
    assert sum(rows for rows, _ in shapes) == 2 * pieces
