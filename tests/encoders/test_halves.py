import copy

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from spacy_nuner.encoders.halves import can_split, run_bottom, run_top
from spacy_nuner.encoders.layers import encoder_layers, freeze

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}
CONFIGS = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES | {"pad_token_id": 1}),
    "xlm-roberta": XLMRobertaConfig(**SIZES | {"pad_token_id": 1}),
    "mpnet": MPNetConfig(**SIZES | {"pad_token_id": 1}),
    "deberta-v3": DebertaV2Config(**SIZES, **DEBERTA),
    # Layers 0 and 3 attend to everything, the others to their neighbours.
    "modernbert": ModernBertConfig(
        **SIZES,
        local_attention=4,
        global_attn_every_n_layers=3,
        reference_compile=False,
    ),
}


def make_encoder(config):
    torch.manual_seed(0)
    return AutoModel.from_config(copy.deepcopy(config)).eval()


def make_inputs(config, lengths=(12, 5, 9)):
    torch.manual_seed(1)
    ids = torch.randint(5, 50, (len(lengths), max(lengths)))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {
        "input_ids": ids.masked_fill(mask == 0, config.pad_token_id),
        "attention_mask": mask,
    }


def learn(encoder, hidden, mask):
    """Gradients of a loss over the real word pieces, by name of the weight."""
    encoder.zero_grad()
    weights = torch.linspace(-1, 1, hidden.shape[-1])
    (hidden[mask.bool()] * weights).tanh().sum().backward()
    return {
        name: p.grad.clone()
        for name, p in encoder.named_parameters()
        if p.requires_grad and p.grad is not None
    }


@pytest.mark.parametrize("frozen", [1, 2, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_both_parts_are_the_encoder(name, frozen):
    encoder = make_encoder(CONFIGS[name])
    freeze(encoder, frozen)
    inputs = make_inputs(CONFIGS[name])
    mask = inputs["attention_mask"]
    assert can_split(encoder, frozen, inputs)
    whole = encoder(**inputs).last_hidden_state
    expected = learn(encoder, whole, mask)
    # The bottom was run with other padding than the top will have.
    with torch.no_grad():
        states = torch.zeros(*mask.shape, 32)
        for row, length in enumerate(mask.sum(1).tolist()):
            alone = {key: each[row : row + 1, :length] for key, each in inputs.items()}
            states[row, :length] = run_bottom(encoder, frozen, alone)[0]
    hidden = run_top(encoder, frozen, inputs, states)
    real = mask.bool()
    torch.testing.assert_close(hidden[real], whole[real], atol=1e-5, rtol=1e-4)
    found = learn(encoder, hidden, mask)
    assert found.keys() == expected.keys()
    assert len(found) > 5
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_states_in_bf16_cost_what_bf16_costs(name):
    encoder = make_encoder(CONFIGS[name])
    inputs = make_inputs(CONFIGS[name])
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        states = run_bottom(encoder, 2, inputs)
        hidden = run_top(encoder, 2, inputs, states.bfloat16().float())
        whole = encoder(**inputs).last_hidden_state
    error = (hidden[real] - whole[real]).norm() / whole[real].norm()
    assert 0 < error < 0.01


@pytest.mark.parametrize("name", CONFIGS)
def test_the_encoder_is_as_it_was(name):
    encoder = make_encoder(CONFIGS[name])
    inputs = make_inputs(CONFIGS[name])
    before = dict(encoder.named_modules())
    states = run_bottom(encoder, 2, inputs)
    run_top(encoder, 2, inputs, states)
    with pytest.raises((RuntimeError, ValueError)):
        run_top(encoder, 2, inputs, states[..., :3])
    assert dict(encoder.named_modules()) == before
    assert len(encoder_layers(encoder)) == 4
    assert not any(layer._forward_hooks for layer in encoder_layers(encoder))


def test_what_can_not_be_split_is_noticed():
    """Some DeBERTa have a convolution beside the first layer."""
    config = DebertaV2Config(**SIZES, **DEBERTA, conv_kernel_size=3, conv_act="gelu")
    encoder = make_encoder(config)
    assert not can_split(encoder, 2, make_inputs(config))
    bert = make_encoder(CONFIGS["bert"])
    assert not can_split(bert, 0, make_inputs(CONFIGS["bert"]))
    bert.embeddings = None
    assert not can_split(bert, 2, make_inputs(CONFIGS["bert"]))
