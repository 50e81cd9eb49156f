import numpy as np
import pytest
import torch

from spacy_nuner.pretrain.data.batches import Collator, LengthBatches


def random_lengths(rows, longest=100):
    return np.random.default_rng(0).integers(5, longest, rows)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
@pytest.mark.parametrize("size", [1, 3, 16, 10**6])
def test_batches_have_every_row_once(rows, size):
    batches = LengthBatches(random_lengths(rows), size, seed=0)
    for epoch in range(3):
        batches.set_epoch(epoch)
        found = list(batches)
        assert len(found) == len(batches)
        sizes = set(map(len, found))
        assert max(sizes) <= size and max(sizes) - min(sizes) <= 1
        assert sorted(row for batch in found for row in batch) == list(range(rows))


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 64, 1000])
@pytest.mark.parametrize("size", [1, 3, 16, 10**6])
@pytest.mark.parametrize("together", [2, 3, 5])
def test_batches_of_an_epoch_are_whole_steps(rows, size, together):
    batches = LengthBatches(random_lengths(rows), size, seed=0, together=together)
    found = list(batches)
    assert len(found) == len(batches)
    assert len(found) % together == 0 or rows < together and len(found) == rows
    # No more steps than it takes.
    assert len(found) < together * (rows / (together * size) + 1)
    sizes = set(map(len, found))
    assert min(sizes) >= 1 and max(sizes) <= max(size, 2 * (rows % together > 0))
    assert sorted(row for batch in found for row in batch) == list(range(rows))


def test_batches_depend_on_seed_and_epoch_alone():
    def order(seed, epoch):
        batches = LengthBatches(random_lengths(100), 6, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_batches_save_padding():
    lengths = random_lengths(2000)

    def padding(batches):
        pieces = sum(lengths[batch].sum() for batch in batches)
        return 1 - pieces / sum(len(b) * lengths[b].max() for b in batches)

    assert padding(np.arange(2000).reshape(-1, 16)) > 0.4
    assert padding(list(LengthBatches(lengths, 16, seed=0))) < 0.12


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_devices_share_a_batch(features, concept_encoder, world_size):
    def collate(rank, world_size):
        return Collator(
            features.concepts,
            concept_encoder.tokenizer,
            description_dropout=0.5,
            rank=rank,
            world_size=world_size,
        )(rows)

    rows = list(features.texts)
    whole = collate(0, 1)
    shares = [collate(rank, world_size) for rank in range(world_size)]
    count = len(whole["concept_ids"])
    assert {share["concept_count"] for share in shares} == {count}
    # As many concepts on each device: all in order, then repetition.
    concepts = [
        ids[mask.bool()].tolist()
        for share in shares
        for ids, mask in zip(share["concept_ids"], share["concept_mask"], strict=True)
    ]
    assert len({len(share["concept_ids"]) for share in shares}) == 1
    assert concepts[:count] == [
        ids[mask.bool()].tolist()
        for ids, mask in zip(whole["concept_ids"], whole["concept_mask"], strict=True)
    ]
    # Each pair of word piece and concept counts as much as in the whole batch.
    pairs = whole["is_text"].sum() * count
    weights = [share["weight"] for share in shares]
    sizes = [share["is_text"].sum() * count for share in shares]
    assert sum(weights) == pytest.approx(world_size)
    for weight, size in zip(weights, sizes, strict=True):
        assert weight == 0 or weight / size == pytest.approx(world_size / pairs)
    positives = sum(share["positives"].shape[1] for share in shares if share["weight"])
    assert positives == whole["positives"].shape[1]
    # With more devices than texts some stand by.
    assert weights.count(0) == max(0, world_size - len(rows))


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
