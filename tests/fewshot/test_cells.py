import json
import warnings
from collections import Counter
from dataclasses import replace

import pytest
import spacy

from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot import cells as engine
from spacy_nuner.fewshot.cells import Fits, run_cells
from spacy_nuner.fewshot.compare import Dataset, find_backbones
from spacy_nuner.fewshot.draws import draw_groups
from spacy_nuner.fewshot.results import Curves, read_cells, title_layers

from ..util import make_tiny_bert


@pytest.fixture(scope="module")
def sets(assets):
    train = read_docs(assets / "listings" / "train.jsonl")[:60]
    return train, read_docs(assets / "listings" / "dev.jsonl")[:20]


@pytest.fixture(scope="module")
def backbones(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    texts = [doc.text for doc in sets[0]]
    names = ["base", "nuner"]
    paths = [str(make_tiny_bert(folder / n, texts, seed=len(n))) for n in names]
    return find_backbones(paths, names=names, layers=["last", "both"])


def run(sets, backbones, output, *, k=(1,), dev=(), protocol="mentions", **settings):
    train, test = sets
    name = settings.pop("name", "a")
    hashes = {"train": name, "test": "b", **({"dev": "c"} if dev else {})}
    dataset = Dataset("listings", train, test, hashes, dev=list(dev))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = draw_groups(train, protocol, k, draws=2, allow_fewer=True)
    n_process = settings.pop("n_process", 1)
    fits = Fits(**{"epochs": 1, "dev_sentences": 10, **settings})
    return run_cells(
        *([dataset], backbones, {"listings": groups}, output),
        fits=fits,
        n_process=n_process,
    )


@pytest.fixture
def fitted(monkeypatch):
    """What was trained, in its order."""
    calls = []
    original = engine.fit_head

    def counting(name, task):
        calls.append((name, task))
        return original(name, task)

    monkeypatch.setattr(engine, "fit_head", counting)
    return calls


def test_rates_are_chosen_on_dev_and_cells_resumed(sets, backbones, tmp_path, fitted):
    settings = {"heads": ["linear"], "encoders": ["frozen", "tuned"]}
    cells = run(sets, backbones[:1], tmp_path, **settings)
    assert [cell.layers for cell in cells] == [
        *["mentions-linear-frozen"] * 2,
        *["mentions-linear-tuned"] * 2,
    ]
    # Three pairs of rates on the first draw, then both draws.
    assert len(fitted) == 2 * (3 + 2)
    folder = tmp_path / "listings" / "base" / "mentions-linear-tuned" / "k1"
    tried = {}
    for path in (folder / "rates").iterdir():
        content = json.loads(path.read_text("utf8"))
        tried[tuple(content["settings"]["rates"])] = content["ents_f"] or 0.0
        held_out = set(content["settings"]["dev"])
        assert len(held_out) == 10
        assert held_out.isdisjoint(content["settings"]["learned"])
    for cell in cells[2:]:
        rates = tuple(cell.settings["rates"])
        assert tried[rates] == max(tried.values())
        assert (cell.head, cell.protocol) == ("linear", "mentions")
        assert cell.settings["weights"] == "tuned"
        assert cell.settings["steps"] == -(-cell.sentences // 8)
        assert cell.versions["spacy"] and cell.seconds > 0
        assert sum(map(sum, (c.values() for c in cell.scores["confusion"].values())))
    assert read_cells(tmp_path) == sorted(cells, key=lambda c: (c.layers, c.draw))
    curves = Curves(cells, "ents_f")
    assert curves.point("listings", "mentions-linear-tuned", "base", 1).n == 2
    assert title_layers(curves.layers[0]) == "mentions-linear-frozen"

    fitted.clear()
    assert run(sets, backbones[:1], tmp_path, **settings) == cells
    assert not fitted
    before = (folder / "draw1.json").read_text("utf8")
    (folder / "draw1.json").unlink()
    run(sets, backbones[:1], tmp_path, **settings)
    assert [name for name, _ in fitted] == ["linear"]
    after = json.loads((folder / "draw1.json").read_text("utf8"))
    assert {**after, "seconds": 0} == {**json.loads(before), "seconds": 0}


def test_a_dev_part_is_what_rates_are_chosen_on(sets, backbones, tmp_path, fitted):
    train, test = sets
    cells = run((train[:40], test), backbones[:1], tmp_path, dev=train[40:])
    # Of a probe, which has no rates, it changes nothing.
    assert all(set(cell.settings["data"]) == {"train", "test"} for cell in cells)
    cells = run(
        *((train[:40], test), backbones[:1], tmp_path),
        dev=train[40:],
        heads=["two-layer"],
    )
    assert all("dev" in cell.settings["data"] for cell in cells)
    paths = list(tmp_path.glob("**/rates/*.json"))
    contents = [json.loads(path.read_text("utf8")) for path in paths]
    assert len(contents) == 3
    assert all(content["settings"]["dev"] is None for content in contents)


def test_all_labels_learn_from_what_was_held_out(sets, backbones, tmp_path, fitted):
    (cell,) = run(sets, backbones[:1], tmp_path, k=["all"], heads=["linear"])
    assert cell.k == "all" and cell.sentences == len(sets[0])
    sizes = [len(task.docs) for _, task in fitted]
    assert sizes == [54, 54, 54, 60]


def test_all_labels_are_no_number_of_mentions(sets, backbones, tmp_path, monkeypatch):
    mentions = Counter(ent.label_ for doc in sets[0] for ent in doc.ents)
    most = max(mentions.values())
    settings = {"k": [most, "all"], "layers": ["last"]}
    cells = run(sets, backbones[:1], tmp_path, **settings)
    assert [(cell.k, cell.draw) for cell in cells] == [(most, 0), (most, 1), ("all", 0)]
    assert (tmp_path / "listings/base/last/kall/draw0.json").is_file()
    assert sorted(map(str, read_cells(tmp_path))) == sorted(map(str, cells))
    # Neither takes the file of the other, so that both stay finished.
    monkeypatch.setattr(engine, "fit_probe", None)
    assert run(sets, backbones[:1], tmp_path, **settings) == cells


def test_the_same_draws_and_vectors_for_every_head(sets, backbones, tmp_path):
    heads = ["probe", "binary-probe", "prototype"]
    cells = run(sets, backbones, tmp_path, heads=heads, protocol="k~2k", k=[2])
    found = {cell.layers for cell in cells}
    assert found == {
        *(f"k~2k-{head}-frozen-{x}" for head in heads[:2] for x in ("last", "both")),
        "k~2k-prototype-frozen",
    }
    for draw in (0, 1):
        same = [cell for cell in cells if cell.draw == draw]
        assert len(same) == 2 * 5
        assert len({tuple(cell.settings["docs"]) for cell in same}) == 1
        assert all(n <= 4 for n in same[0].mentions.values())
    # No rates are chosen where there are none.
    assert not list(tmp_path.glob("**/rates"))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_rates_are_chosen_on_sentences_with_entities(sets):
    train, _ = sets
    full = [doc for doc in train if doc.ents]
    empty = spacy.blank("en").make_doc("nothing to see here")
    empty.ents = []
    dataset = Dataset("rare", [*full, *[empty] * 3000], full, {})
    learned, dev = engine.hold_out(dataset, [0, 1], 200)
    assert learned == [0, 1] and len(dev) == 200 and not {0, 1} & set(dev)
    # Of 3,000 without one chance would take four.
    assert sum(bool(dataset.train[i].ents) for i in dev) >= 20


@pytest.mark.parametrize(("every", "count"), [(40, 200), (20, 100), (10, 50), (8, 40)])
def test_some_with_entities_are_held_out_of_all_and_one_is_left(sets, every, count):
    full = [doc for doc in sets[0] if doc.ents]
    empty = spacy.blank("en").make_doc("nothing to see here")
    train = [full[0] if i % every == 0 else empty for i in range(count)]
    dataset = Dataset("rare", train, full, {})
    learned, dev = engine.hold_out(dataset, range(count), 200)
    assert sorted([*learned, *dev]) == list(range(count))
    assert len(dev) == count // 10
    assert all(any(train[i].ents for i in part) for part in (learned, dev))


def test_the_only_sentence_with_an_entity_is_not_held_out(sets):
    full = [doc for doc in sets[0] if doc.ents]
    empty = spacy.blank("en").make_doc("nothing to see here")
    dataset = Dataset("rare", [full[0], *[empty] * 20], full, {})
    with pytest.raises(NunerError, match=r"N626.*1 of its 21 sentences"):
        engine.hold_out(dataset, range(21), 200)


def test_the_chosen_part_of_dev_has_entities(sets):
    full = [doc for doc in sets[0] if doc.ents]
    empty = spacy.blank("en").make_doc("nothing to see here")
    chosen = engine.choose_dev([*full[:3], *[empty] * 5000], 200)
    assert len(chosen) == 200 and sum(bool(doc.ents) for doc in chosen) == 3
    assert not any(doc.ents for doc in engine.choose_dev([empty] * 9, 5))


def test_rates_are_not_chosen_on_the_test_set(tmp_path):
    text = "Ana B-PER\nran O\n\n"
    for name in ("train.conll", "test.conll", "dev.conll"):
        (tmp_path / name).write_text(text, "utf8")
    with pytest.raises(NunerError, match=r"N648.*dev\.conll"):
        Dataset.from_files(tmp_path / "test.conll", dev=tmp_path / "dev.conll")


def test_a_folder_by_another_name_is_the_same_encoder(
    sets, backbones, tmp_path, monkeypatch
):
    settings = {"heads": ["probe", "linear"]}
    cells = run(sets, backbones[:1], tmp_path, **settings)
    monkeypatch.setattr(engine, "fit_probe", None)
    monkeypatch.setattr(engine, "fit_head", None)
    (one,) = backbones[:1]
    moved = replace(one, identity={**one.identity, "name": "moved/"})
    assert run(sets, [moved], tmp_path, **settings) == cells


def test_other_files_replace_results_with_a_warning(sets, backbones, tmp_path):
    run(sets, backbones[:1], tmp_path)
    train, test = sets
    with pytest.warns(UserWarning, match="W607"):
        run((train[:-1], test), backbones[:1], tmp_path, name="other")


def test_nothing_is_left_to_choose_rates_on(sets, backbones, tmp_path):
    train, test = sets
    one = next(doc for doc in train if doc.ents)
    with pytest.raises(NunerError, match=r"N626.*1 of its 1 sentences"):
        run(([one], test), backbones[:1], tmp_path, heads=["linear"])


def test_sentences_without_an_entity_say_nothing_about_rates(
    sets, backbones, tmp_path, fitted
):
    train, test = sets
    with_ents = [doc for doc in train if doc.ents]
    without = [doc for doc in train if not doc.ents]
    assert len(without) > 2
    # The draw takes all that have one.
    pool = [*with_ents, *without]
    (cell,) = run((pool, test), backbones[:1], tmp_path, k=[10**6], heads=["linear"])[
        :1
    ]
    assert cell.sentences == len(with_ents)
    count = len(with_ents) // 10
    sizes = [len(task.docs) for _, task in fitted]
    assert sizes[:3] == [len(with_ents) - count] * 3
    (content, *_) = (json.loads(x.read_text()) for x in tmp_path.rglob("rates/*.json"))
    assert len(content["settings"]["dev"]) == min(count, 10)


@pytest.mark.weekly
def test_processes_change_nothing(sets, backbones, tmp_path):
    settings = {"heads": ["probe", "linear"], "encoders": ["frozen", "tuned"]}
    alone = run(sets, backbones, tmp_path / "a", **settings)
    shared = run(sets, backbones, tmp_path / "b", n_process=2, **settings)
    assert len(alone) == len(shared) == 2 * (4 + 4)
    for one, other in zip(alone, shared, strict=True):
        assert one.settings == other.settings
        assert one.scores["ents_f"] == pytest.approx(other.scores["ents_f"], abs=0.02)


def test_a_head_that_reads_names_rests_on_the_concept_encoder(sets, backbone, tmp_path):
    found = find_backbones([backbone], names=["nuner"], layers=["both"])
    cells = run(sets, found, tmp_path, heads=["prototype", "nuner_ner"])
    assert {cell.head: "concepts" in cell.settings["encoder"] for cell in cells} == {
        "prototype": False,
        "nuner_ner": True,
    }
