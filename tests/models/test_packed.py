import pytest
import torch
from torch import nn

from spacy_nuner.encoders.layers import has_fast_bf16
from spacy_nuner.models.precision import HalfCopy, PackedLinear, fill_rows, pack_linears

fast = pytest.mark.skipif(
    not has_fast_bf16(on_cpu=True), reason="needs a processor with fast bf16"
)


@pytest.fixture()
def module():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = nn.Sequential(
            nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 8, bias=False)
        )
        return nn.Sequential(inner, nn.LayerNorm(8)).eval().requires_grad_(False)


@fast
@pytest.mark.parametrize("shape", [(1, 48), (5, 48), (3, 7, 48), (200, 48)])
def test_packed_computes_the_same_bits(module, shape):
    half = module.to(torch.bfloat16)
    X = torch.randn(shape, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = half(X)
        pack_linears(half)
        found = half(X)
    assert [type(m) for m in half.modules()].count(PackedLinear) == 2
    assert torch.equal(found, expected)


@fast
def test_the_copy_for_prediction_is_packed_and_the_module_is_not(module):
    half = HalfCopy().get(module)
    assert any(isinstance(m, PackedLinear) for m in half.modules())
    assert not any(isinstance(m, PackedLinear) for m in module.modules())


def test_attention_that_reads_the_weights_itself_stays_whole():
    module = nn.MultiheadAttention(16, 2).to(torch.bfloat16).eval()
    X = torch.randn(3, 2, 16, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected, _ = module(X, X, X)
        pack_linears(module)
        found, _ = module(X, X, X)
    assert torch.equal(found, expected)


def test_nothing_is_packed_without_fast_bf16(module, monkeypatch):
    monkeypatch.setattr(
        "spacy_nuner.models.precision.has_fast_bf16", lambda *, on_cpu: False
    )
    pack_linears(module)
    assert not any(isinstance(m, PackedLinear) for m in module.modules())


def test_few_numbers_of_rows_reach_the_product():
    filled = {len(fill_rows(torch.ones(n, 4))) for n in range(1, 1025)}
    assert filled == {*range(16, 129, 16), *range(256, 1025, 128)}
    rows = fill_rows(torch.ones(3, 4))
    assert rows[:3].eq(1).all() and rows[3:].eq(0).all()
    # Nothing is copied where nothing is missing.
    rows = torch.ones(256, 4)
    assert fill_rows(rows).data_ptr() == rows.data_ptr()
