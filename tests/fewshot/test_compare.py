import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import spacy

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.encoders.folder import BackboneInfo
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot import cells as engine
from spacy_nuner.fewshot import compare
from spacy_nuner.fewshot.cells import run_cells
from spacy_nuner.fewshot.compare import Dataset, find_backbones
from spacy_nuner.fewshot.draws import draw_docs
from spacy_nuner.fewshot.results import Curves, read_cells
from spacy_nuner.files import hash_file

from ..conftest import MINILM
from ..util import make_tiny_bert

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sets(assets):
    train = read_docs(assets / "listings" / "train.jsonl")
    return train, read_docs(assets / "listings" / "dev.jsonl")[:40]


@pytest.fixture(scope="module")
def tiny(sets, tmp_path_factory):
    """Two encoders of the same form and different weights."""
    folder = tmp_path_factory.mktemp("encoders")
    texts = [doc.text for doc in sets[0]]
    for seed, name in enumerate(("one", "two")):
        make_tiny_bert(folder / name, texts, seed=seed)
    return folder


def run(sets, backbones, output, *, hashes=None):
    train, test = sets
    draws = [[draw_docs(train, k, seed=seed) for seed in (0, 1)] for k in (1, 4)]
    dataset = Dataset("listings", train, test, hashes or {"train": "a", "test": "b"})
    return run_cells([dataset], backbones, {"listings": draws}, output)


@pytest.fixture
def embeddings(monkeypatch):
    """Counts how often and of how many Docs vectors were computed."""
    calls = []
    original = engine.embed_tokens

    def counting(docs, *args, **kwargs):
        calls.append(len(docs))
        return original(docs, *args, **kwargs)

    monkeypatch.setattr(engine, "embed_tokens", counting)
    return calls


def test_cells_are_written_resumed_and_made_again_if_settings_change(
    sets, tiny, tmp_path, embeddings
):
    names = [str(tiny / "one"), str(tiny / "two")]
    backbones = find_backbones(names, layers=["last", "both"])
    cells = run(sets, backbones, tmp_path)
    assert len(cells) == 2 * 2 * 2 * 2
    paths = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.json"))
    assert len(paths) == len(cells)
    assert Path("listings/one/both/k4/draw1.json") in paths
    assert read_cells(tmp_path) == sorted(
        cells, key=lambda c: (c.dataset, c.backbone, c.layers, c.k, c.draw)
    )
    # Once a backbone: the test set, and of the pool only what was drawn.
    drawn = {i for cell in cells for i in cell.settings["docs"]}
    assert embeddings == [40, len(drawn), 0] * 2

    embeddings.clear()
    again = run(sets, backbones, tmp_path)
    assert not embeddings
    assert again == cells

    lost = tmp_path / "listings" / "two" / "last" / "k1" / "draw0.json"
    before = json.loads(lost.read_text("utf8"))
    lost.unlink()
    run(sets, backbones, tmp_path)
    # Vectors come of the same batches as before.
    assert embeddings == [40, len(drawn), 0]
    after = json.loads(lost.read_text("utf8"))
    assert {**before, "seconds": 0} == {**after, "seconds": 0}

    embeddings.clear()
    run(sets, backbones[:1], tmp_path, hashes={"train": "a", "test": "other"})
    assert len(embeddings) == 3
    cell = json.loads((tmp_path / "listings/one/last/k1/draw0.json").read_text("utf8"))
    assert cell["settings"]["data"]["test"] == "other"


def test_a_cell_says_what_it_rests_on(sets, tiny, tmp_path):
    (backbone,) = find_backbones([str(tiny / "one")], names=["base"], layers=["last"])
    train, _ = sets
    for cell in run(sets, [backbone], tmp_path):
        docs = [train[i] for i in cell.settings["docs"]]
        assert cell.sentences == len(docs)
        assert cell.tokens == sum(map(len, docs))
        assert min(cell.mentions.values()) >= cell.k
        assert sum(cell.mentions.values()) == sum(len(doc.ents) for doc in docs)
        found = list(cell.scores["token_f_per_label"].values())
        assert cell.scores["macro_token_f"] == pytest.approx(np.mean(found))
        weights = hash_file(tiny / "one" / "model.safetensors")
        assert cell.settings["encoder"]["sha256"] == weights
        assert cell.backbone == "base"


def test_more_mentions_help_a_real_encoder(sets, tmp_path):
    pytest.importorskip(MINILM.removeprefix("package:").partition("/")[0])
    (backbone,) = find_backbones([MINILM], names=["base"], layers=["both"])
    assert backbone.layers == {"both": [-1, -4]}
    curves = Curves(run(sets, [backbone], tmp_path), "macro_token_f")
    few, more = (curves.point("listings", "both", "base", k) for k in (1, 4))
    assert more.mean > few.mean + 0.1 > 0.2
    assert more.n == 2 and more.std is not None


def test_sets_without_a_common_label(sets, tiny, tmp_path):
    path = tmp_path / "other.conll"
    path.write_text("Ada B-PER\nsang O\n", "utf8")
    backbones = find_backbones([str(tiny / "one")], layers=["last"])
    with pytest.raises(NunerError) as caught:
        run((sets[0], read_docs(path)), backbones, tmp_path)
    assert caught.value.code == "N623"
    assert "PER" in str(caught.value) and "ROOM" in str(caught.value)


def test_layers_of_one_depth_are_the_same_for_all(tiny, tmp_path):
    names = [str(tiny / "one"), str(tiny / "two")]
    plain = find_backbones(names, layers=["last", "both", "-1+-3"])
    for backbone in plain:
        assert backbone.layers == {"last": [-1], "both": [-1, -2], "-1+-3": [-1, -3]}
    assert [backbone.name for backbone in plain] == ["one", "two"]
    assert plain[0].identity["sha256"] != plain[1].identity["sha256"]


def test_a_backbone_recommends_layers_to_encoders_of_its_depth(sets, tiny, tmp_path):
    texts = [doc.text for doc in sets[0]]
    backbone = make_tiny_bert(tmp_path / "nuner", texts)
    deeper = make_tiny_bert(tmp_path / "deeper", texts, layers=6)
    content = {field.name: None for field in fields(BackboneInfo)}
    content |= {"format": 1, "hidden_layers": [-1, -3]}
    (backbone / "nuner.json").write_text(json.dumps(content), "utf8")
    names = [str(tiny / "one"), str(backbone), str(deeper)]
    described = find_backbones(names, layers=["both"])
    assert [one.layers["both"] for one in described] == [[-1, -3], [-1, -3], [-1, -4]]


@pytest.mark.parametrize(
    "given, layers, code",
    [
        (["a"], "last", "N621"),
        (["a", "a"], "last", "N621"),
        (["a", "../b"], "last", "N621"),
        ([], "middle", "N622"),
        ([], "-1,-2", "N622"),
        ([], "-4", "N622"),
        ([], "0", "N622"),
    ],
)
def test_names_and_layers_that_do_not_fit(tiny, given, layers, code):
    names = [str(tiny / "one"), str(tiny / "two")]
    with pytest.raises(NunerError) as caught:
        find_backbones(names, names=given, layers=[layers])
    assert caught.value.code == code


def test_a_set_is_named_by_its_folder(assets):
    paths = [assets / "listings" / f"{name}.jsonl" for name in ("dev", "train")]
    dataset = Dataset.from_files(*paths)
    assert dataset.name == "listings"
    assert dataset.hashes == {
        "test": hash_file(paths[0]),
        "train": hash_file(paths[1]),
        "lang": "en",
    }
    assert 0 < len(dataset.test) < len(dataset.train)
    with pytest.warns(UserWarning, match="W606"):
        Dataset.from_files(paths[0], paths[0])
    for name in ("average", "../a", "a/b", ".a"):
        with pytest.raises(NunerError, match="N646"):
            Dataset.from_files(paths[0], name=name)
    alone = Dataset.from_files(paths[0], name="mine")
    assert (alone.name, alone.train) == ("mine", [])


def test_words_of_a_text_depend_on_the_language(assets, tmp_path):
    listings = assets / "listings" / "dev.jsonl"
    words = tmp_path / "words.conll"
    words.write_text("Ada B-PER\nsang O\n", "utf8")
    for paths, found in (
        ((listings,), "xx"),
        ((words, listings), "xx"),
        ((words, words), None),
    ):
        hashes = [Dataset.from_files(*paths, lang=lang).hashes for lang in ("xx", "en")]
        assert hashes[0].get("lang") == found
        # Words that stand in the file are the same in any language.
        assert (hashes[0] == hashes[1]) == (found is None)


def test_a_set_may_be_a_folder_or_on_the_hub(tmp_path):
    pytest.importorskip("datasets")
    for part, city in (("train", "Rome"), ("test", "Bonn")):
        row = {"text": f"In {city}.", "answer": f"{city} <> city"}
        (tmp_path / "cities" / part).mkdir(parents=True)
        (tmp_path / "cities" / part / "data.jsonl").write_text(json.dumps(row))
    hub = [Path(f"hub:{tmp_path}/cities::{part}") for part in ("test", "train")]
    folders = [tmp_path / "cities" / part for part in ("test", "train")]
    for paths in (hub, folders):
        dataset = Dataset.from_files(*paths)
        assert dataset.name == "cities"
        assert [doc.text for doc in dataset.test] == ["In Bonn."]
        assert [doc.text for doc in dataset.train] == ["In Rome."]
        assert dataset.hashes["train"] != dataset.hashes["test"]


@pytest.mark.parametrize(
    "source", ["hub:tner/bc5cdr", "hub:tner/bc5cdr@refs/convert/parquet:a:test"]
)
def test_a_set_of_the_hub_has_its_own_name(monkeypatch, source):
    doc = spacy.blank("en")("x")
    monkeypatch.setattr(compare, "read_docs", lambda path, **settings: [doc])
    monkeypatch.setattr(compare, "hash_input", lambda path: "0")
    monkeypatch.setattr(compare, "name_lang", lambda paths, lang: {})
    monkeypatch.setattr(compare, "name_split", lambda path, part: path)
    assert Dataset.from_files(source).name == "bc5cdr"


def test_an_architecture_that_transformers_does_not_know(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "perceptron-of-1958"}')
    with pytest.raises(NunerError, match="N001.*perceptron-of-1958"):
        find_backbones([str(tmp_path)], layers=["last"])


def test_a_missing_encoder(tmp_path):
    with pytest.raises(NunerError) as caught:
        find_backbones([str(tmp_path / "none")], layers=["last"])
    assert caught.value.code == "N001"
