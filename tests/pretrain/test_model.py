import pytest
import torch

from spacy_nuner.pretrain import model as contrast
from spacy_nuner.pretrain.model import (
    ContrastiveModel,
    Similarity,
    sigmoid_cross_entropy,
)


def softmax_cross_entropy(logits, targets):
    """Another mean over the rows, in which the pairs of a row are not independent."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


@pytest.fixture
def compare(monkeypatch):
    """Loss and gradients of random vectors, so many pairs at once."""

    def make(objective, pairs):
        monkeypatch.setattr(contrast, "PAIRS_AT_ONCE", pairs)
        torch.manual_seed(0)
        model = ContrastiveModel.__new__(ContrastiveModel)
        torch.nn.Module.__init__(model)
        model.similarity = Similarity(scale=1.5, bias=-2.0)
        model.objective = objective
        pieces = torch.randn(23, 8, requires_grad=True)
        concepts = torch.randn(5, 8, requires_grad=True)
        positives = torch.tensor([[22, 0, 7, 7, 3, 4], [1, 0, 4, 2, 2, 2]])
        loss = model.loss(pieces, concepts, positives)
        sides = [pieces, concepts, *model.similarity.parameters()]
        return loss, torch.autograd.grad(loss, sides)

    return make


@pytest.mark.parametrize("objective", [sigmoid_cross_entropy, softmax_cross_entropy])
@pytest.mark.parametrize("pairs", [1, 20, 57, 114])
def test_in_chunks_it_is_the_same_loss(compare, objective, pairs):
    whole, gradients = compare(objective, 10_000)
    loss, found = compare(objective, pairs)
    torch.testing.assert_close(loss, whole)
    for gradient, expected in zip(found, gradients, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, expected)


def test_no_more_logits_than_fit_are_made_at_once(compare):
    shapes = []

    def note(logits, targets):
        shapes.append(tuple(logits.shape))
        return sigmoid_cross_entropy(logits, targets)

    compare(note, 50)
    # Once forward, once again for the gradient.
    assert sorted(shapes) == [(3, 5)] * 2 + [(10, 5)] * 4
