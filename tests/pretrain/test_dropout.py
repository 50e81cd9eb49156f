import pytest
import torch
from torch import nn
from transformers import AutoModel

from spacy_nuner.pretrain.dropout import FastDropout, use_fast_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_and_the_rest_is_scaled(p, dtype):
    torch.manual_seed(0)
    layer = FastDropout(p).train()
    values = torch.ones(7, 13, 1101, dtype=dtype, requires_grad=True)
    result = layer(values)
    assert result.dtype == dtype
    assert (result == 0).float().mean().item() == pytest.approx(p, abs=0.01)
    kept = result[result != 0]
    assert kept.unique().numel() == 1
    assert kept[0].item() == pytest.approx(1 / (1 - p), rel=0.01)
    result.sum().backward()
    # What was dropped learns nothing.
    assert torch.equal(values.grad, result)
    assert not torch.equal(layer(values) == 0, result == 0)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (FastDropout(0.5).train()(torch.ones(40_000)) == 0).float()
    for distance in (1, 2, 3, 4, 8):
        both = dropped[distance:] * dropped[:-distance]
        assert both.mean().item() == pytest.approx(0.25, abs=0.02)


def test_it_follows_the_random_state():
    layer = FastDropout(0.3).train()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(layer(torch.ones(3, 5)))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_nothing_is_dropped_outside_of_training():
    values = torch.randn(3, 5)
    assert torch.equal(FastDropout(0.5).eval()(values), values)
    assert torch.equal(FastDropout(0.0).train()(values), values)
    assert not FastDropout(1.0).train()(values).any()


def test_an_encoder_takes_it_on(bert):
    encoder = AutoModel.from_pretrained(bert).train()
    before = encoder.state_dict()
    encoder.embeddings.eval()
    use_fast_dropout(encoder)
    ours = [m for m in encoder.modules() if isinstance(m, nn.Dropout)]
    assert len(ours) == 13
    assert all(type(m) is FastDropout and m.p == 0.1 for m in ours)
    assert not encoder.embeddings.dropout.training
    assert encoder.encoder.layer[0].output.dropout.training
    assert encoder.state_dict().keys() == before.keys()
