"""Rounds with a set's own labels as the person, and what is made of them."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.simulate import show_runs, simulate
from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.errors import NunerError
from spacy_nuner.files import find_shipped
from spacy_nuner.labelling import savings
from spacy_nuner.labelling.simulate import (
    Round,
    Run,
    get_f1,
    get_settings,
    get_share,
    read_runs,
    take,
)
from spacy_nuner.labelling.tasks import Mark, Task
from spacy_nuner.pipeline.labels import Label
from spacy_nuner.plotting import get_paths

from ..docs.test_commands import load_app
from .conftest import LABELS, read_rows, write_rows


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "mine"
    folder.mkdir()
    rows = read_rows(count=24)
    write_rows(folder / "train.jsonl", rows[:16])
    write_rows(folder / "test.jsonl", rows[16:])
    return folder


@pytest.fixture(scope="module")
def settings(tiny_backbone):
    return {"backbone": tiny_backbone, "n": 3, "steps": 1, "figure": False}


@pytest.fixture(scope="module")
def result(sets, settings, tmp_path_factory):
    """Two rounds of each strategy."""
    output = tmp_path_factory.mktemp("runs") / "out"
    runs = simulate(
        sets / "train.jsonl", sets / "test.jsonl", output, rounds=2, **settings
    )
    return output, runs


def test_rounds(result, sets):
    output, runs = result
    assert [run.by for run in runs] == ["cover", "random"]
    gold = {doc.text: doc for doc in read_docs(sets / "train.jsonl")}
    for run in runs:
        assert [one.sentences for one in run.rounds] == [0, 3, 6]
        texts = [text for one in run.rounds for text in one.texts]
        assert len(set(texts)) == 6 and set(texts) <= set(gold)
        assert run.rounds[-1].mentions == sum(len(gold[text].ents) for text in texts)
        assert run.rounds[0].suggested is None
        assert all(0 <= one.f1 <= 1 for one in run.rounds)
    assert read_runs(output) == sorted(runs, key=lambda run: run.by)


def test_a_run_goes_on_where_it_was(result, sets, settings, monkeypatch, tmp_path):
    from spacy_nuner.labelling import simulate as module

    output, runs = result
    args = (sets / "train.jsonl", sets / "test.jsonl", tmp_path / "out")
    cut = replace(runs[1], rounds=runs[1].rounds[:2])
    cut.to_disk(tmp_path / "out")
    made = []
    original = module._make

    def count(*args, **settings):
        made.append(len(args[2]))
        return original(*args, **settings)

    monkeypatch.setattr(module, "_make", count)
    (again,) = simulate(*args, rounds=2, by=["random"], **settings)
    # One training to suggest with, and one of the round.
    assert made == [3, 6]
    assert [one.texts for one in again.rounds] == [o.texts for o in runs[1].rounds]
    assert [one.f1 for one in again.rounds[:2]] == [o.f1 for o in cut.rounds]
    simulate(*args, rounds=2, by=["random"], **settings)
    assert len(made) == 2
    # Of other settings nothing is taken.
    simulate(*args, rounds=1, by=["random"], **{**settings, "n": 4})
    assert len(made) == 4


def copy_to(folder, *paths):
    return [Path(shutil.copy(path, folder)) for path in paths]


def test_a_run_of_other_sets_or_weights_or_configs_is_another(
    sets, settings, tmp_path, monkeypatch
):
    from spacy_nuner.labelling import simulate as module

    backbone = str(shutil.copytree(settings["backbone"], tmp_path / "backbone"))
    train, test = copy_to(tmp_path, sets / "train.jsonl", sets / "test.jsonl")
    config = tmp_path / "ner.cfg"
    shutil.copy(find_shipped(module.CONFIG), config)
    monkeypatch.setattr(module, "find_shipped", lambda _: config)
    options = {"labels": {}, "n": 3, "steps": 1, "pool": 9, "test_limit": 0}

    def get(lang="en"):
        return get_settings(train, test, backbone=backbone, lang=lang, **options)

    found = [get(), get("de")]
    assert get() == found[0] == json.loads(json.dumps(found[0]))
    for path in (train, test, Path(backbone, "nuner.json")):
        path.write_text(path.read_text() + "\n")
        found.append(get())
    for path in (backbone, Path(backbone, "concept_encoder")):
        weights = Path(path, "model.safetensors")
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        found.append(get())
    config.write_text(config.read_text().replace("dropout = 0.1", "dropout = 0.2"))
    found.append(get())
    assert len({json.dumps(one) for one in found}) == len(found) == 8
    shutil.rmtree(Path(backbone, "concept_encoder"))
    with pytest.raises(NunerError, match="N625"):
        get()


def test_the_figure_has_runs_of_one_kind(result, sets, settings, monkeypatch, tmp_path):
    runs = result[1]
    output = shutil.copytree(result[0], tmp_path / "out")
    strange = replace(runs[1], seed=7, settings={**runs[1].settings, "n": 99})
    strange.to_disk(output)
    drawn = []

    def draw(runs, path):
        drawn.extend(runs)
        for one in get_paths(path):
            one.write_text("")

    monkeypatch.setattr(savings, "draw_savings", draw)
    options = {**settings, "figure": True}
    sets = [sets / "train.jsonl", sets / "test.jsonl"]
    simulate(*sets, output, rounds=2, **options)
    strange.get_path(output).unlink()
    assert sorted(drawn, key=lambda run: run.by) == read_runs(output)


def test_seeds_choose_from_other_sentences(sets, settings, monkeypatch, tmp_path):
    from spacy_nuner.labelling import simulate as module

    pools = {}

    def remember(run, output, *, pool, **settings):
        pools[run.by, run.seed] = {doc.text for doc in pool}
        return run

    monkeypatch.setattr(module, "simulate_run", remember)
    paths = [sets / "train.jsonl", sets / "test.jsonl"]
    simulate(*paths, tmp_path / "out", pool=6, seeds=[0, 1], **settings)
    assert pools["cover", 0] == pools["random", 0] != pools["cover", 1]
    assert pools["cover", 1] == pools["random", 1] and len(pools["random", 1]) == 6


def test_the_language_reaches_the_recogniser(settings, sets):
    from spacy_nuner.labelling import simulate as module

    docs = read_docs(sets / "train.jsonl")[:2]
    labels = {label: Label() for label in LABELS}
    for some in ([], docs):
        nlp = module._make(
            settings["backbone"], labels, some, seed=0, steps=1, lang="zh"
        )
        assert nlp.lang == "zh"
        # spaCy's own tokenizer for it, which needs no blanks.
        assert len(nlp.make_doc("三室两厅")) == 4


def test_the_benchmark_counts_rounds_of_its_settings(result, sets, tmp_path):
    output, runs = result
    load_app("benchmarks/suggest.py")
    plan = sys.modules["benchmark"].Plan(
        data="",
        output=str(output),
        dataset=runs[1].dataset,
        by="random",
        seed=0,
        backbone="",
        rounds=2,
        n=3,
        pool=0,
        test_limit=0,
        steps=1,
        settings=runs[1].settings,
    )
    assert plan.count_done() == 3
    assert replace(plan, settings={**plan.settings, "n": 4}).count_done() == 0
    runs[1].to_disk(tmp_path)
    replace(runs[1], seed=1, settings={}).to_disk(tmp_path)
    with pytest.raises(typer.BadParameter, match="different settings"):
        sys.modules["benchmark"].report(tmp_path)


def test_the_benchmark_keeps_figures_without_sentences(result, tmp_path):
    output, runs = result
    load_app("benchmarks/suggest.py")
    module = sys.modules["benchmark"]
    module.keep(output, tmp_path)
    kept = read_runs(tmp_path)
    assert len(kept) == len(runs) == 2
    for one in kept:
        written = one.get_path(tmp_path).read_text("utf8")
        before = Run.from_disk(one.get_path(output))
        assert [r.f1 for r in one.rounds] == [r.f1 for r in before.rounds]
        assert not any(r.texts for r in one.rounds)
        assert any(r.texts for r in before.rounds)
        assert all(
            json.dumps(text, ensure_ascii=False) not in written
            for r in before.rounds
            for text in r.texts
        )
        assert before.settings["backbone"]["name"] not in written
    # Another training of the backbone is no other setting.
    other = {**kept[0].settings, "backbone": {"sha256": "another"}}
    replace(kept[0], seed=1, settings=other).to_disk(tmp_path)
    module.report(tmp_path, figure=None)
    assert (tmp_path / "savings.png").is_file()


def test_the_command_draws_and_prints(result, sets, settings):
    output, _ = result
    arguments = ["simulate", sets / "train.jsonl", sets / "test.jsonl", output]
    arguments += ["--backbone", settings["backbone"], "-n", 3, "--steps", 1]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert "cover against random" in done.output and "2 runs" in done.output
    assert (output / "savings.png").stat().st_size > 1000
    done = CliRunner().invoke(app, [*map(str, arguments), "--by", "magic"])
    assert done.exit_code == 1 and "N717" in done.output


def test_what_is_no_run(tmp_path):
    path = tmp_path / "a" / "cover" / "seed0.json"
    path.parent.mkdir(parents=True)
    for text in ("", "[]", "{}", json.dumps({"rounds": [1]})):
        path.write_text(text)
        with pytest.raises(NunerError, match="N716"):
            read_runs(tmp_path)


def make_run(dataset, by, seed, values):
    rounds = [Round(10 * i, 0, 0, f1, 0.1 * i, [], 1.0) for i, f1 in enumerate(values)]
    return Run(dataset, by, seed, {}, rounds)


RUNS = [
    make_run("a", "random", 0, [0.1, 0.3, 0.5]),
    make_run("a", "random", 1, [0.1, 0.5, 0.7]),
    make_run("a", "cover", 0, [0.1, 0.6, 0.8]),
    make_run("a", "cover", 1, [0.1, 0.4, 0.6]),
    make_run("b", "random", 0, [0.0, 0.2, 0.4]),
    make_run("b", "random", 1, [0.0, 0.2, 0.4]),
    make_run("b", "cover", 0, [0.0, 0.1, 0.3]),
    make_run("b", "cover", 1, [0.0, 0.1, 0.3]),
]


def test_savings():
    band = savings.get_band(RUNS, "a", "random")
    assert band.sentences == [0, 10, 20]
    assert band.means == pytest.approx([10, 40, 60])
    assert band.spreads == pytest.approx([0, 200**0.5, 200**0.5])
    ours = savings.get_band(RUNS, "a", "cover")
    assert savings.get_needed(ours, 60) == pytest.approx(15)
    assert savings.get_needed(ours, 10) == 0 and savings.get_needed(ours, 71) is None
    _, rows = savings.savings_table(RUNS, "cover")
    assert rows == [
        # Of single seeds: 50 is reached by 10, 60 not for 70.
        ["a", "60.0 ± 14.1", "70.0 ± 14.1", "15 of 20", "8, >20", "+10.0"],
        ["b", "40.0 ± 0.0", "30.0 ± 0.0", ">20 of 20", ">20, >20", "-10.0"],
        # 17.5 and more, since one is more than was labelled.
        ["mean", "50.0 ± 7.1", "50.0 ± 7.1", ">18 of 20", ">14, >20", "+0.0"],
    ]
    header, rows = savings.curve_table(RUNS, savings.MEAN)
    assert header == ["sentences", "0", "10", "20"]
    assert [row[0] for row in rows] == ["cover", "random"]
    assert savings.get_suggested(RUNS, "cover", 1) == pytest.approx(0.1)
    assert savings.get_suggested(RUNS, "cover", 3) is None


def test_runs_that_can_not_be_compared():
    runs = [
        make_run("a", "random", 0, [0.1, 0.3, 0.5]),
        make_run("a", "random", 1, [0.1, 0.5, 0.7]),
        make_run("a", "cover", 0, [0.1, 0.6, 0.8]),
    ]
    whole = [runs[0], runs[2]]
    assert savings.match_runs(runs) == whole
    unfinished = make_run("a", "cover", 1, [0.1])
    assert savings.match_runs([*runs, unfinished]) == whole
    # A strategy of its own has nothing to be compared with.
    assert savings.match_runs(runs[:2]) == runs[:2]
    assert savings.match_runs([]) == []
    assert savings.match_runs([runs[1], runs[2]]) == []


def test_a_run_that_had_more_rounds_before(sets, settings, tmp_path):
    paths = [sets / "train.jsonl", sets / "test.jsonl"]
    output = tmp_path / "out"
    simulate(*paths, output, rounds=2, **{**settings, "by": ["random"]})
    runs = simulate(*paths, output, rounds=1, **settings)
    assert [len(run.rounds) for run in runs] == [2, 2]
    assert len(read_runs(output)[1].rounds) == 3
    show_runs(runs)


def test_what_is_passed_by_chance_is_not_reached():
    runs = [
        make_run("a", "random", 0, [0.1, 0.5, 0.5, 0.5]),
        make_run("a", "cover", 0, [0.1, 0.6, 0.4, 0.6]),
    ]
    _, (row,) = savings.savings_table(runs, "cover")
    # 50 is reached for good in the middle of the last round; random has it at once.
    assert row[3] == "25 of 10"
    runs[1] = make_run("a", "cover", 0, [0.1, 0.6, 0.6, 0.4])
    _, (row,) = savings.savings_table(runs, "cover")
    assert row[3] == ">30 of 10"


def test_a_seed_that_a_set_lacks_is_no_mean():
    band = savings.get_band(RUNS[:-1], savings.MEAN, "cover")
    assert band.spreads == [0.0, 0.0, 0.0]


def test_scores(sets):
    import spacy

    docs = read_docs(sets / "test.jsonl")
    nlp = spacy.blank("en")
    assert get_f1(nlp, docs) == 0
    spans = read_rows(count=24)[16]["spans"]
    nlp.add_pipe("entity_ruler").add_patterns(
        [
            {"label": one["label"], "pattern": docs[0].text[one["start"] : one["end"]]}
            for one in spans
        ]
    )
    assert get_f1(nlp, docs[:1]) == 1
    marks = [Mark(one["start"], one["end"], one["label"]) for one in spans]
    gold = {docs[0].text: docs[0]}
    assert get_share([Task(docs[0].text, [], [], marks)], gold) == 1
    assert get_share([Task(docs[0].text, [], [], [])], gold) == 0
    assert get_share([], gold) is None
    assert take([*docs, *docs], 0) == docs and len(take(docs, 3)) == 3
