import math
from itertools import combinations

import numpy as np
import pytest
import torch
from transformers import AutoModel

from spacy_nuner.encoders.concept_encoder import (
    ConceptEncoder,
    concept_text,
    group_sizes,
)
from spacy_nuner.encoders.layers import encoder_layers, load_encoder
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.data.batches import Collator
from spacy_nuner.pretrain.data.features import Features, build_features
from spacy_nuner.pretrain.model import (
    ContrastiveModel,
    Similarity,
    sigmoid_cross_entropy,
)
from spacy_nuner.readers.docbin import read_docbin

from .conftest import SENTENCES


@pytest.fixture
def make_model(base, concept_encoder):
    def make(frozen_layers):
        return ContrastiveModel(
            load_encoder(base)[1],
            concept_encoder,
            Similarity(scale=1.5, bias=-2.0),
            sigmoid_cross_entropy,
            frozen_layers=frozen_layers,
        )

    return make


@pytest.fixture
def batch(tmp_path, corpus, concept_encoder):
    folder = tmp_path / "features"
    build_features(
        corpus, folder, concept_encoder=concept_encoder, max_length=60, quiet=True
    )
    features = Features.from_folder(folder)
    collate = Collator(
        features.concepts, concept_encoder.tokenizer, description_dropout=1.0
    )
    return collate(list(features.texts))


@torch.no_grad()
def test_loss_equals_a_naive_reference(make_model, batch, corpus):
    """Every word piece against every concept, one text and one concept at a time."""
    model = make_model(1).eval()
    tokenizer = model.concept_encoder.tokenizer
    concepts = sorted(
        {concept for _, mentions in SENTENCES for _, concept, _ in mentions}
    )
    vectors = {}
    for concept in concepts:
        inputs = tokenizer(concept, return_tensors="pt")
        hidden = model.concept_encoder.encoder(**inputs).last_hidden_state[0]
        vectors[concept] = hidden.mean(0)
    losses = []
    for doc in read_docbin(corpus / "part-00000.spacy"):
        text, mentions = doc.text, doc.spans["concepts"]
        inputs = tokenizer(
            text,
            return_offsets_mapping=True,
            split_special_tokens=True,
            return_tensors="pt",
        )
        offsets = inputs.pop("offset_mapping")[0].tolist()
        hidden = model.text_encoder(**inputs).last_hidden_state[0]
        for vector, (start, end) in list(zip(hidden, offsets, strict=True))[1:-1]:
            for concept in concepts:
                inside = any(
                    span.label_ == concept
                    and start < span.end_char
                    and end > span.start_char
                    for span in mentions
                )
                product = float(vector @ vectors[concept])
                logit = 1.5 * product / math.sqrt(len(vector)) - 2.0
                probability = 1 / (1 + math.exp(-logit))
                losses.append(-math.log(probability if inside else 1 - probability))
    loss = model(**batch)["loss"].item()
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_gradient_reaches_the_top_alone(make_model, batch):
    model = make_model(1)
    model.train()
    seen = []
    encoders = [model.text_encoder, model.concept_encoder.encoder]
    for encoder in encoders:
        for layer in encoder_layers(encoder):
            layer.register_forward_hook(
                lambda layer, _, output: seen.append(
                    (layer.training, output[0].requires_grad)
                )
            )
    model(**batch)["loss"].backward()
    count = len(encoder_layers(model.text_encoder))
    frozen, trained = (False, False), (True, True)
    # The text encoder runs once, the concept encoder once for each group of lengths.
    passes = len(seen) // count
    assert passes >= 2
    assert seen == [frozen, *[trained] * (count - 1)] * passes
    for encoder in encoders:
        layers = encoder_layers(encoder)
        assert all(p.grad is None for p in layers[0].parameters())
        assert all(p.grad is not None for p in layers[1].parameters())
        assert all(p.grad is None for p in encoder.embeddings.parameters())


def test_every_trained_weight_gets_a_gradient(make_model, batch):
    """Weights without one stop a run on several devices."""
    model = make_model(0)
    model.train()
    model(**batch)["loss"].backward()
    missing = {
        name.rpartition("encoder.")[0] + name
        for name, p in model.named_parameters()
        if p.requires_grad and p.grad is None
    }
    assert not missing


def test_concept_text():
    template = "{name} ({description})"
    assert concept_text(template, "dog breed", "Kinds of dogs") == (
        "dog breed (Kinds of dogs)"
    )
    assert concept_text(template, "dog breed", "") == "dog breed"
    assert concept_text(template, "{odd}", "{too}") == "{odd} ({too})"
    assert concept_text(template, "dog breed", None) == "dog breed"


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_encode_does_not_depend_on_the_batch(concept_encoder, pooling):
    concept_encoder.pooling = pooling
    concept_encoder.eval()
    names = ["city", "historical event", "disease"]
    descriptions = [None, "Significant events in world history", ""]
    vectors = concept_encoder.encode(names, descriptions)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, concept_encoder.encoder.config.hidden_size)
    for index in range(3):
        alone = concept_encoder.encode([names[index]], [descriptions[index]])
        np.testing.assert_allclose(alone[0], vectors[index], atol=1e-5)
    bare = concept_encoder.encode(names)
    np.testing.assert_allclose(bare[0], vectors[0], atol=1e-5)
    assert abs(bare[1] - vectors[1]).max() > 1e-3


def test_many_concepts_are_encoded_in_several_batches(concept_encoder):
    names = [f"city {'of the north ' * (i % 7)}{i}" for i in range(200)]
    vectors = concept_encoder.encode(names)
    for index in (0, 6, 101, 199):
        alone = concept_encoder.encode([names[index]])
        np.testing.assert_allclose(alone[0], vectors[index], atol=1e-5)


def test_encode_nothing(concept_encoder):
    width = concept_encoder.encoder.config.hidden_size
    assert concept_encoder.encode([]).shape == (0, width)


def test_encode_leaves_the_mode_as_it_was(concept_encoder):
    concept_encoder.train()
    first = concept_encoder.encode(["city"])
    assert concept_encoder.training
    np.testing.assert_array_equal(concept_encoder.encode(["city"]), first)


def test_encode_wants_as_many_descriptions(concept_encoder):
    with pytest.raises(ValueError, match="zip"):
        concept_encoder.encode(["city", "date"], ["Large settlements"])


def test_long_descriptions_are_cut(concept_encoder):
    (pieces,) = concept_encoder.pieces(["city"], ["very " * 100])
    assert len(pieces) == concept_encoder.max_length


def test_plain_encoder_has_no_concept_encoder(base):
    with pytest.raises(NunerError, match=r"N304.*nuner\.json"):
        ConceptEncoder.from_folder(base)


def test_pooling_ignores_padding(concept_encoder, base):
    model = AutoModel.from_pretrained(base).eval()
    inputs = concept_encoder.tokenizer(["city", "historical event"], padding=True)
    ids, mask = (torch.tensor(inputs[key]) for key in ("input_ids", "attention_mask"))
    concept_encoder.eval()
    pooled = concept_encoder(ids, mask)
    alone = model(ids[:1, : mask[0].sum()]).last_hidden_state.mean(1)
    torch.testing.assert_close(pooled[:1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_groups_have_the_least_padding(count, groups):
    lengths = np.sort(np.random.default_rng(count).integers(3, 12, count))

    def padded(sizes):
        ends = np.cumsum(sizes)
        return sum(lengths[end - 1] * n for n, end in zip(sizes, ends, strict=True))

    sizes = group_sizes(lengths, groups)
    assert sum(sizes) == count
    assert len(sizes) <= groups
    borders = combinations(range(1, count), min(groups, count) - 1)
    best = min(padded(np.diff([0, *border, count])) for border in borders)
    assert padded(sizes) == best


def test_concepts_in_groups_of_like_length_are_as_alone(make_model, batch):
    encoder = make_model(1).eval().concept_encoder
    ids, mask = batch["concept_ids"], batch["concept_mask"]
    with torch.no_grad():
        together = encoder(ids, mask)
        alone = torch.cat(
            [encoder(i[None], m[None]) for i, m in zip(ids, mask, strict=True)]
        )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
