import math

import pytest
import torch

from spacy_nuner.encoders.layers import load_encoder, set_dropout
from spacy_nuner.pretrain.model import (
    make_sigmoid_softmax_cross_entropy,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)


def test_concepts_and_none_compete_for_a_word_piece():
    logits = torch.tensor([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    total = math.exp(2) + math.exp(1) + 1
    first, none, shared = (math.log(total) - x for x in (2.0, 0.0, 1.5))
    expected = (first + none + shared) / 3
    assert softmax_cross_entropy(logits, targets).item() == pytest.approx(expected)


def test_competition_is_a_share_beside_the_loss_of_nuner():
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 4), (torch.rand(6, 4) > 0.7).float()
    both = make_sigmoid_softmax_cross_entropy(softmax=0.5)(logits, targets)
    parts = (
        sigmoid_cross_entropy(logits, targets),
        softmax_cross_entropy(logits, targets),
    )
    torch.testing.assert_close(both, parts[0] + 0.5 * parts[1])
    none = make_sigmoid_softmax_cross_entropy(softmax=0.0)(logits, targets)
    torch.testing.assert_close(none, parts[0])


def test_means_over_parts_of_the_word_pieces_make_the_mean_over_all():
    torch.manual_seed(0)
    objective = make_sigmoid_softmax_cross_entropy()
    logits, targets = torch.randn(6, 4), (torch.rand(6, 4) > 0.7).float()
    parts = [objective(logits[i : i + 2], targets[i : i + 2]) for i in (0, 2, 4)]
    torch.testing.assert_close(objective(logits, targets), sum(parts) / 3)


def test_dropout_is_changed_and_the_config_keeps_that_of_later_training(bert):
    tokenizer, encoder = load_encoder(bert)
    inputs = tokenizer("a small text", return_tensors="pt")
    before = encoder.config.hidden_dropout_prob
    set_dropout(encoder, 0.0)
    encoder.train()
    first, second = (encoder(**inputs).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)
    set_dropout(encoder, 0.5)
    assert not torch.equal(first, encoder(**inputs).last_hidden_state)
    assert encoder.config.hidden_dropout_prob == before
