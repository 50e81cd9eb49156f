"""Data sets as the `datasets` library streams them, here out of a folder."""

import csv
import json
from types import SimpleNamespace

import pytest

from spacy_nuner.errors import NunerError
from spacy_nuner.readers.forms import read_record
from spacy_nuner.readers.hub import find_on_hub
from spacy_nuner.readers.records import Entity, Source
from spacy_nuner.readers.rows import read_rows
from spacy_nuner.readers.sources import find_sources, hash_input

pytest.importorskip("datasets")


@pytest.fixture
def nuner(tmp_path):
    """Like numind/NuNER: columns input and output, splits entity and full."""
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for split, end in (("entity", ""), ("full", " <> a big place")):
        path = folder / f"{split}-00000-of-00001.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["input", "output"])
            for n in range(3):
                writer.writerow([f"In Lisbon {n}.", f"['Lisbon <> City{end}']"])
    return folder.parent


def test_a_split_in_a_stream(nuner):
    source = find_on_hub(f"hub:{nuner}", split="full")
    assert source == Source(f"hub:{nuner}", "hub", "full", None)
    rows = list(read_rows(source))
    assert [row.line for row in rows] == [1, 2, 3]
    records = [read_record(row) for row in rows]
    assert records[2].text == "In Lisbon 2."
    assert records[2].entities == [Entity("Lisbon", "City", "a big place")]


def test_a_split_in_the_name(nuner):
    """So that all commands that read can choose one, two of them at a time."""
    name = f"hub:{nuner}::entity"
    (source,) = find_sources([name])
    assert source == Source(name, "hub", "entity", None)
    assert find_on_hub(name, split="full") == source
    assert read_record(next(read_rows(source))).entities == [Entity("Lisbon", "City")]
    assert hash_input(name) != hash_input(f"hub:{nuner}::full")


@pytest.mark.parametrize(
    ("split", "told"), [(None, "no split was named"), ("train", "no split 'train'")]
)
def test_the_splits_are_told(nuner, split, told):
    with pytest.raises(NunerError, match=f"N104.*{told}; choose from entity, full"):
        find_on_hub(f"hub:{nuner}", split=split)


def test_a_single_split_needs_no_name(tmp_path):
    (tmp_path / "set").mkdir()
    value = {"conversations": [{"from": "human", "value": "Text: In Rome."}]}
    (tmp_path / "set" / "train.json").write_text(json.dumps([value]))
    source = find_on_hub(f"hub:{tmp_path / 'set'}")
    assert source.split == "train"
    (row,) = read_rows(source)
    assert row.content[0]["conversations"] == value["conversations"]


@pytest.mark.parametrize(
    ("name", "asked"),
    [("hub:numind/NuNER::full", None), ("hub:numind/NuNER@v1::full", "v1")],
)
def test_a_data_set_is_pinned_to_a_commit(name, asked, monkeypatch):
    """What stands for the hub knows its latest commit and that of a tag."""
    commits = {None: "a" * 40, "v1": "b" * 40}
    calls = []

    class Rows(list):
        features = None

    class Hub:
        def dataset_info(self, path, revision=None):
            calls.append(path)
            return SimpleNamespace(sha=commits[revision])

    def load(path, config, *, split, revision, streaming):
        calls.append((path, config, split, revision, streaming))
        return Rows([{"input": "In Lisbon.", "output": "['Lisbon <> City']"}])

    def list_splits(path, config, revision=None):
        calls.append(revision)
        return ["entity", "full"]

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("datasets.get_dataset_split_names", list_splits)
    monkeypatch.setattr("datasets.load_dataset", load)
    source = find_on_hub(name)
    assert source == Source(name, "hub", "full", commits[asked])
    (row,) = read_rows(source)
    assert read_record(row).entities == [Entity("Lisbon", "City")]
    found = "numind/NuNER", None, "full", commits[asked], True
    assert calls == ["numind/NuNER", commits[asked], found]
    # Another commit is another input.
    assert hash_input(name) != hash_input("hub:numind/NuNER::entity")


def test_a_folder_may_be_called_like_a_revision(nuner):
    folder = nuner.rename(nuner.with_name("set@v1"))
    source = find_on_hub(f"hub:{folder}::full")
    assert source.revision is None
    assert len(list(read_rows(source))) == 3


def test_what_is_not_there(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NunerError, match="N104.*hub:nobody/nothing"):
        find_on_hub("hub:nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NunerError, match="N104.*empty"):
        find_on_hub(f"hub:{tmp_path / 'empty'}")


@pytest.mark.external
def test_the_published_set():
    source = find_on_hub("hub:numind/NuNER", split="full")
    assert len(source.revision) == 40
    record = read_record(next(read_rows(source)))
    assert record.entities[0].description
