import numpy as np
import pytest
import torch

from spacy_nuner.pretrain.batches import Collator, LengthSampler
from spacy_nuner.pretrain.features import Features, build_features


@pytest.fixture
def features(tmp_path, corpus, concept_encoder):
    folder = tmp_path / "features"
    build_features(
        corpus, folder, concept_encoder=concept_encoder, max_length=48, quiet=True
    )
    return Features.from_folder(folder)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_sampler_gives_every_row_once(rows):
    lengths = np.random.default_rng(0).integers(5, 100, rows)
    sampler = LengthSampler(lengths, 8, seed=0)
    assert sorted(sampler) == list(range(rows))
    assert len(sampler) == rows


def test_sampler_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = LengthSampler(range(100), 4, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_sampler_saves_padding():
    lengths = np.random.default_rng(0).integers(5, 100, 1000)

    def padded(order):
        batches = np.asarray(list(order))[:992].reshape(-1, 16)
        return sum(16 * lengths[batch].max() for batch in batches)

    assert padded(LengthSampler(lengths, 16, seed=0)) < 0.7 * padded(range(1000))


def test_batch_tells_which_pieces_belong_to_which_concept(features, concept_encoder):
    tokenizer = concept_encoder.tokenizer
    collate = Collator(features.concepts, tokenizer, description_dropout=1.0)
    rows = list(features.texts)
    batch = collate(rows)
    assert batch["is_text"].sum() == sum(len(row["input_ids"]) - 2 for row in rows)
    assert not (batch["is_text"] & ~batch["attention_mask"].bool()).any()
    # What the pairs name, read back from the ids that the model gets.
    pieces = batch["input_ids"][batch["is_text"]]
    found = {
        (pieces[piece].item(), tuple(batch["concept_ids"][concept].tolist()))
        for piece, concept in batch["positives"].T.tolist()
    }
    width = batch["concept_ids"].shape[1]
    names = features.concepts["name_ids"]
    expected = {
        (piece, tuple(names[c] + [tokenizer.pad_token_id] * (width - len(names[c]))))
        for row in rows
        for start, end, c in zip(
            row["starts"], row["ends"], row["concepts"], strict=True
        )
        for piece in row["input_ids"][start:end]
    }
    assert found == expected
    distinct = {c for row in rows for c in row["concepts"]}
    assert len(batch["concept_ids"]) == len(distinct)


@pytest.mark.parametrize(("dropout", "column"), [(0, "described_ids"), (1, "name_ids")])
def test_descriptions_are_given_or_dropped(features, concept_encoder, dropout, column):
    collate = Collator(
        features.concepts, concept_encoder.tokenizer, description_dropout=dropout
    )
    rows = list(features.texts)
    mask = collate(rows)["concept_mask"]
    lengths = sorted(len(ids) for ids in features.concepts[column])
    assert sorted(mask.sum(1).tolist()) == lengths


def test_dropped_descriptions_depend_on_the_batch_alone(features, concept_encoder):
    collate = Collator(
        features.concepts, concept_encoder.tokenizer, description_dropout=0.5
    )
    rows = list(features.texts)
    torch.manual_seed(1)
    first = collate(rows)["concept_mask"].sum()
    torch.manual_seed(2)
    assert collate(rows)["concept_mask"].sum() == first
    orders = [rows[i:] + rows[:i] for i in range(len(rows))]
    assert len({collate(order)["concept_mask"].sum().item() for order in orders}) > 1
