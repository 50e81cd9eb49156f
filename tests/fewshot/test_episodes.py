"""Episodes: what the sampler promises, and the form of Few-NERD's authors."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.episodes import (
    EpisodeSampler,
    Sentence,
    find_entities,
    is_episode_file,
    read_episodes,
    read_sentences,
)

TYPES = ["a-x", "a-y", "b-x", "b-y"]

labels = st.lists(st.sampled_from(["O", "O", *TYPES]), min_size=1, max_size=8)
pools = st.lists(labels, min_size=5, max_size=60)


def make_pool(rows):
    """Sentences whose words say which they are."""
    return [
        Sentence(tuple(f"w{i}-{j}" for j in range(len(row))), tuple(row))
        for i, row in enumerate(rows)
    ]


def count(sentences):
    return Counter(e[2] for sentence in sentences for e in sentence.find_entities())


@given(rows=pools, ways=st.integers(1, 4), shots=st.integers(1, 3), seed=st.integers())
@settings(max_examples=60)
def test_episodes_are_n_way_k_to_2k_and_disjoint(rows, ways, shots, seed):
    pool = make_pool(rows)
    try:
        episode = EpisodeSampler(pool).sample(ways, shots, query_shots=1, seed=seed)
    except NunerError as error:
        assert "N642" in str(error)
        return
    assert len(set(episode.types)) == ways
    for part, k in ((episode.support, shots), (episode.query, 1)):
        assert set(part) <= set(pool) and len(set(part)) == len(part)
        counts = count(part)
        # No other types, and of each of them K to 2K mentions.
        assert set(counts) == set(episode.types)
        assert all(k <= n <= 2 * k for n in counts.values())
    assert not set(episode.support) & set(episode.query)
    assert episode.count_shots() == min(count(episode.support).values())
    again = EpisodeSampler(pool).sample(ways, shots, query_shots=1, seed=seed)
    assert again == episode


def test_a_possible_episode_is_found_and_seeds_differ():
    # Two sentences of each type alone, and many that no episode can have.
    rows = [[name] for name in TYPES for _ in range(2)]
    rows += [["a-x", "O"] * 3 + ["b-y"]] * 3 + [["O"]] * 5
    sampler = EpisodeSampler(make_pool(rows))
    episodes = [sampler.sample(2, 1, seed=seed) for seed in range(20)]
    assert len({tuple(one.types) for one in episodes}) > 3
    # A sentence without an entity adds nothing.
    assert all(one.types for e in episodes for one in (*e.support, *e.query))


def test_a_sentence_that_is_repeated_counts_once():
    sentence = Sentence(("Rome",), ("city",))
    sampler = EpisodeSampler([sentence] * 9)
    with pytest.raises(NunerError, match=r"N642.*1 types with 1 to 2.*1 sentences"):
        sampler.sample(1, 1)


@pytest.mark.parametrize(("ways", "shots"), [(5, 1), (0, 1), (2, 0), (2, 9)])
def test_an_impossible_episode_is_an_error(ways, shots):
    with pytest.raises(NunerError, match="N642"):
        EpisodeSampler(make_pool([[name] for name in TYPES] * 4)).sample(ways, shots)


@given(row=labels)
@settings(max_examples=40)
def test_entities_are_those_of_seqeval(row):
    expected = [
        (start, end + 1, label)
        for label, start, end in get_entities(
            [name if name == "O" else f"I-{name}" for name in row]
        )
    ]
    assert find_entities(row) == expected


def test_neighbours_of_one_type_are_one_entity_in_a_set(tmp_path):
    path = tmp_path / "set.conll"
    path.write_text("Rome\tB-city\nOslo\tB-city\nis\tO\n\nAda\tB-person\n")
    first, second = read_sentences(path)
    assert first.words == ("Rome", "Oslo", "is")
    assert first.find_entities() == [(0, 2, "city")]
    assert second.find_entities() == [(0, 1, "person")]


def test_a_set_without_entities_is_an_error(tmp_path):
    path = tmp_path / "set.jsonl"
    spans = [{"start": 0, "end": 4, "label": "city"}]
    path.write_text(json.dumps({"text": "Rome", "spans": spans}) + "\n")
    assert read_sentences(path)[0].types == {"city"}
    path.write_text(json.dumps({"text": "Rome", "spans": []}) + "\n")
    with pytest.raises(NunerError, match="N603"):
        read_sentences(path)


OFFICIAL = {
    "support": {
        "word": [["Ada", "met", "Bo"], ["Rome", "wins"]],
        "label": [["person-actor", "O", "person-actor"], ["location-GPE", "O"]],
    },
    "query": {"word": [["Cy", "Lee"]], "label": [["person-actor", "person-actor"]]},
    "types": ["person-actor", "location-GPE"],
}


def test_files_of_few_nerds_authors_are_read(tmp_path):
    path = tmp_path / "test_2_1.jsonl"
    tagged = json.loads(json.dumps(OFFICIAL))
    tagged["query"]["label"] = [["B-person-actor", "I-person-actor"]]
    path.write_text(f"{json.dumps(OFFICIAL)}\n\n{json.dumps(tagged)}\n")
    assert is_episode_file(path)
    first, second = read_episodes(path)
    assert first == second
    assert first.types == ["location-GPE", "person-actor"]
    assert first.support[0].words == ("Ada", "met", "Bo")
    assert first.query[0].find_entities() == [(0, 2, "person-actor")]
    assert first.count_shots() == 1


def test_a_labelled_set_is_no_file_of_episodes(tmp_path):
    for name, text in {
        "a.jsonl": '{"text": "Rome", "spans": []}\n',
        "b.jsonl": "no JSON\n",
        "c.conll": json.dumps(OFFICIAL),
        "d.jsonl": "",
    }.items():
        (tmp_path / name).write_text(text)
        assert not is_episode_file(tmp_path / name)
    assert not is_episode_file(tmp_path)
    assert not is_episode_file("hub:some/name")


def change(part, key, value):
    return {**OFFICIAL, part: {**OFFICIAL[part], key: value}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"support": OFFICIAL["support"]}, "no 'query'"),
        ([1], "indices"),
        (change("query", "label", [["O"]]), "2 words have 1 labels"),
        (change("query", "label", []), "zip"),
        (change("query", "word", [["Cy", ""]]), "empty"),
        (change("query", "label", [["event-x", "O"]]), "'event-x'"),
        (change("support", "label", [["O"] * 3, ["O"] * 2]), "no entity"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, content, reason):
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(OFFICIAL)}\n{json.dumps(content)}\n")
    with pytest.raises(NunerError, match=rf"N644.*line 2: .*{reason}"):
        read_episodes(path)


def test_an_empty_file_of_episodes_is_an_error(tmp_path):
    (tmp_path / "x.jsonl").write_text("\n")
    with pytest.raises(NunerError, match="N644"):
        read_episodes(tmp_path / "x.jsonl")
    (tmp_path / "y.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(NunerError, match="N005"):
        read_episodes(tmp_path / "y.jsonl")
