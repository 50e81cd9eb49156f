"""TadNER from files to results: the same episodes for all, and runs that go on."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.tadner import tadner
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot import tadner_runs
from spacy_nuner.fewshot.report import write_report
from spacy_nuner.fewshot.tadner import EpisodeSettings, SourceSettings
from spacy_nuner.fewshot.tadner_runs import find_episodes

from ..test_outputs import read_tree
from ..tiny import make_tiny
from .toy import FISH, TEXTS, make_sentence, write_conll

SETTING = "2-way-1-shot"
FILE = f"episodes/{SETTING}+max_steps=2.json"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two encoders, a set of source types and one of others."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("bert", "roberta"):
        make_tiny(name, folder / name, TEXTS)
    write_conll(folder / "source.conll", ["metal", "tool"])
    write_conll(folder / "test.conll", ["fish", "tree"])
    return folder


def run(files, output, *, encoders=("bert",), episodes=3, **more):
    settings = more.pop("settings", EpisodeSettings(max_steps=2))
    source = more.pop("source", SourceSettings(batch_size=8))
    return tadner(
        [files / "source.conll"],
        more.pop("test", files / "test.conll"),
        output,
        backbones=[str(files / name) for name in encoders],
        ways=more.pop("ways", [2]),
        shots=[1],
        episodes=episodes,
        source=source,
        settings=settings,
        **more,
    )


def without_time(result):
    return [vars(one) | {"seconds": 0} for one in result.episodes]


def test_all_backbones_see_the_same_episodes(files, tmp_path):
    results = run(files, tmp_path / "out", encoders=("bert", "roberta"))
    assert [one.backbone for one in results] == ["bert", "roberta"]
    gold = [
        [{name: n for name, (_, _, n) in e.counts.items()} for e in one.episodes]
        for one in results
    ]
    assert gold[0] == gold[1] and len(gold[0]) == 3
    content = json.loads((tmp_path / "out" / "bert" / FILE).read_text())
    assert content["sampled"] is True and content["ways"] == 2
    assert content["scores"] == json.loads(json.dumps(results[0].scores))
    assert content["settings"]["names"] == {"fish": "fish", "tree": "tree"}
    assert content["settings"]["source"]["names"] == {"metal": "metal", "tool": "tool"}
    assert {"spacy_nuner", "torch", "transformers"} == set(content["versions"])
    assert [one["seed"] for one in content["episodes"]] == [0, 1, 2]
    record = json.loads(
        (tmp_path / "out" / "bert" / "source" / "types" / "tadner.json").read_text()
    )
    assert record["settings"] == content["settings"]["source"] and record["steps"] == 3


def test_the_report_has_them(files, tmp_path):
    pytest.importorskip("matplotlib")
    results = run(files, tmp_path / "m" / "t", encoders=("bert", "roberta"))
    transductive = EpisodeSettings(max_steps=2, transductive=True)
    run(files, tmp_path / "m" / "t", settings=transductive, episodes=1)
    write_report(tmp_path / "m", tmp_path / "report", base="roberta")
    text = (tmp_path / "report" / "report.md").read_text("utf8")
    assert "## TadNER on episodes of new types" in text
    # A setting of an episode has a table of its own.
    assert f"### {SETTING}+max_steps=2" in text.replace("\\", "")
    assert "transductive=true" in text.replace("\\", "")
    assert "3 episodes, sampled here: published figures are of other" in text
    alone, both = (x for x in text.splitlines() if x.startswith("| bert |"))
    assert f"{100 * results[0].scores['ents_f']:.1f} (" in both
    # A gain where the base has been through the same.
    assert " to " in both.split("|")[3] and not alone.split("|")[3].strip()
    assert "| TadNER with NuNER-BERT (published, other data) |" in text
    assert "TadNER" in (tmp_path / "report" / "report.html").read_text("utf8")
    write_report(
        *(tmp_path / "m", tmp_path / "known"),
        base="roberta",
        concepts={"fish": 3, "river": 1},
        encode=lambda names: np.eye(9)[[len(name) for name in names]],
    )
    known = (tmp_path / "known" / "report.md").read_text("utf8")
    assert "Of the 2 types of the test set, the pre-training corpus has 1 by" in known
    with pytest.raises(NunerError, match="N633"):
        write_report(tmp_path / "m", tmp_path / "other")
    # A copy is the same; runs of other settings can't be told apart in a table.
    shutil.copytree(tmp_path / "m" / "t", tmp_path / "m" / "copy")
    write_report(tmp_path / "m", tmp_path / "copied", base="roberta")
    copied = (tmp_path / "copied" / "report.md").read_text("utf8")
    assert copied.count("| bert |") == text.count("| bert |")
    source = SourceSettings(batch_size=4)
    run(files, tmp_path / "m" / "u", source=source, episodes=1)
    with pytest.raises(NunerError, match="N629.*batch_size"):
        write_report(tmp_path / "m", tmp_path / "other", base="bert")
    shutil.rmtree(tmp_path / "m" / "u")
    shutil.rmtree(tmp_path / "m" / "copy")
    (tmp_path / "m" / "t" / "bert" / FILE).write_text('{"episodes": 3}')
    with pytest.raises(NunerError, match="N631"):
        write_report(tmp_path / "m", tmp_path / "other", base="bert")


@pytest.mark.parametrize("other", ["episodes", "source"])
def test_backbones_that_were_not_asked_the_same_are_not_compared(
    files, tmp_path, other
):
    run(files, tmp_path / "m" / "a")
    more = {"source": SourceSettings(batch_size=4)}
    if other == "episodes":
        write_conll(tmp_path / "other.conll", ["tree", "fish"])
        more = {"test": tmp_path / "other.conll"}
    run(files, tmp_path / "m" / "b", encoders=["roberta"], **more)
    named = "episodes.data" if other == "episodes" else "source.settings.batch_size"
    with pytest.raises(NunerError, match=f"N629.*{named}"):
        tadner_runs.read_results(tmp_path / "m")


def test_results_stand_without_their_weights_and_by_any_name(files, tmp_path):
    (one,) = run(files, tmp_path / "out")
    # The same folder, named otherwise.
    (again,) = run(files, tmp_path / "out", encoders=["bert/../bert"], names=["bert"])
    assert again.episodes == one.episodes
    shutil.rmtree(tmp_path / "out" / "bert" / "source")
    ((found,),) = tadner_runs.read_results(tmp_path / "out").values()
    assert found.episodes == one.episodes


@pytest.mark.parametrize("rate", [-1.0, 0.0, float("nan"), float("inf")])
def test_rates_that_nothing_learns_at(rate):
    for settings in (SourceSettings, EpisodeSettings):
        with pytest.raises(NunerError, match="N647"):
            settings(rate=rate)


def test_an_interrupted_run_goes_on_after_the_last_episode(
    files, tmp_path, monkeypatch
):
    (whole,) = run(files, tmp_path / "whole", episodes=4)
    score, done = tadner_runs._score_episode, []

    def stop(model, episodes, seed, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(seed)
        return score(model, episodes, seed, *rest)

    monkeypatch.setattr(tadner_runs, "_score_episode", stop)
    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "out", episodes=4)
    path = tmp_path / "out" / "bert" / FILE
    assert [one["seed"] for one in json.loads(path.read_text())["episodes"]] == done
    done.clear()
    # Neither is trained again.
    monkeypatch.setattr(tadner_runs, "train_spans", None)
    monkeypatch.setattr(tadner_runs, "train_types", None)
    (result,) = run(files, tmp_path / "out", episodes=4)
    assert done == [2, 3] and without_time(result) == without_time(whole)
    # Nothing is left to do, so no model is loaded; more or fewer may be asked for.
    monkeypatch.setattr(tadner_runs, "_load", None)
    before = read_tree(tmp_path / "out")
    (fewer,) = run(files, tmp_path / "out", episodes=2)
    assert without_time(fewer) == without_time(whole)[:2]
    assert read_tree(tmp_path / "out") == before


def test_after_an_interrupted_stage_the_finished_one_is_kept(
    files, tmp_path, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tadner_runs, "train_types", stop)
        with pytest.raises(KeyboardInterrupt):
            run(files, tmp_path / "out")
    source = tmp_path / "out" / "bert" / "source"
    spans = read_tree(source / "spans")
    assert spans and not (source / "types").exists()
    monkeypatch.setattr(tadner_runs, "train_spans", None)
    run(files, tmp_path / "out", episodes=1)
    assert read_tree(source / "spans") == spans


def test_other_settings_stand_beside_or_are_refused(files, tmp_path):
    out = tmp_path / "out"
    run(files, out, episodes=1)
    own = EpisodeSettings(max_steps=2, transductive=True)
    run(files, out, episodes=1, settings=own)
    names = sorted(path.name for path in (out / "bert/episodes").glob("*.json"))
    assert names == [
        f"{SETTING}+max_steps=2+transductive=true.json",
        FILE.removeprefix("episodes/"),
    ]
    before = read_tree(out)
    other = SourceSettings(batch_size=8, rate=1e-4)
    with pytest.raises(NunerError, match=r"N643.*settings.rate: 3e-05, now 0.0001"):
        run(files, out, source=other)
    with pytest.raises(NunerError, match=r"N643.*episodes.query_shots: 1, now 2"):
        run(files, out, query_shots=2)
    assert read_tree(out) == before


def test_types_that_are_not_new_are_named(files, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    write_conll(tmp_path / "test.conll", ["fish", "metal"])
    monkeypatch.setattr(tadner_runs, "_train_stages", stop)
    warned = pytest.warns(UserWarning, match="W605.*1 types.*metal")
    with warned, pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "out", test=tmp_path / "test.conll")


def test_words_of_texts_depend_on_the_language(files, tmp_path):
    for name, types in (("source", ["metal", "tool"]), ("test", ["fish", "tree"])):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(
                json.dumps(
                    {
                        "text": " ".join(one.words),
                        "spans": [
                            {
                                "start": len(" ".join([*one.words[:start], ""])),
                                "end": len(" ".join(one.words[:end])),
                                "label": label,
                            }
                            for start, end, label in one.find_entities()
                        ],
                    }
                )
                + "\n"
                for one in (make_sentence(x, w) for x in types for w in FISH)
            )
        )

    def of_lang(lang, *, train=files / "source.conll", test=files / "test.conll"):
        return tadner(
            *([train], test, tmp_path / f"{train.suffix}{test.suffix}"),
            backbones=[str(files / "bert")],
            ways=[2],
            shots=[1],
            episodes=1,
            source=SourceSettings(batch_size=8),
            settings=EpisodeSettings(max_steps=1),
            lang=lang,
        )

    for lang in ("en", "xx"):
        of_lang(lang)
    for name, file in (("train", "source"), ("test", "test")):
        part = {name: tmp_path / f"{file}.jsonl"}
        of_lang("en", **part)
        with pytest.raises(NunerError, match="N643.*lang: en, now xx"):
            of_lang("xx", **part)


def test_episodes_of_other_types_are_added(files, tmp_path):
    out = tmp_path / "out"
    sets = find_episodes(files / "test.conll", ways=[1, 1], shots=[1, 1], count=4)
    assert len(sets) == 1 and sets[0].types == ["fish", "tree"]
    types = [one.types for one in sets[0].episodes.values()]
    assert types[0] != types[-1]
    run(files, out, episodes=1, ways=[1])
    (result,) = run(files, out, episodes=4, ways=[1])
    assert [list(one.counts) for one in result.episodes] == types
    assert set(result.scores["ents_per_type"]) == {"fish", "tree"}


def test_a_damaged_result_is_an_error(files, tmp_path):
    out = tmp_path / "out"
    run(files, out, episodes=1)
    path = out / "bert" / FILE
    content = json.loads(path.read_text())
    for episodes in ([1], [{}], [{**content["episodes"][0], "counts": {"x": [1]}}]):
        path.write_text(json.dumps({**content, "episodes": episodes}))
        with pytest.raises(NunerError, match="N631"):
            run(files, out)
    for text in ("{", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(NunerError, match="N631"):
            run(files, out)


def test_episodes_of_a_file_are_taken_as_they_are(files, tmp_path):
    (sampled,) = find_episodes(files / "test.conll", ways=[2], shots=[1], count=2)
    path = tmp_path / "test_2_1.jsonl"
    rows = [
        {
            part: {
                "word": [one.words for one in sentences],
                "label": [one.labels for one in sentences],
            }
            for part, sentences in (("support", e.support), ("query", e.query))
        }
        for e in sampled.episodes.values()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    # Ways and shots are those of the file.
    (given,) = find_episodes(path, ways=[9], shots=[9], count=5)
    assert (given.name, given.ways, given.shots) == ("test_2_1", 2, 1)
    assert list(given.episodes) == [1, 2]
    assert list(given.episodes.values()) == list(sampled.episodes.values())
    (fewer,) = find_episodes(path, ways=[], shots=[], count=1)
    assert list(fewer.episodes) == [1] and fewer.types == given.types
    (result,) = run(files, tmp_path / "out", test=path)
    file = tmp_path / "out" / "bert" / "episodes" / "test_2_1+max_steps=2.json"
    assert json.loads(file.read_text())["sampled"] is False
    assert len(result.episodes) == 2


def test_the_command_prints_a_table_for_each_setting(files, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text('{"fish": {"name": "what swims"}}')
    result = CliRunner().invoke(
        app,
        [
            *("tadner", str(files / "source.conll"), str(files / "test.conll")),
            *(str(tmp_path / "out"), "--ways", "1,2", "--shots", "1"),
            *("--backbones", f"{files / 'bert'},{files / 'roberta'}"),
            *("--names", "base,nuner", "--episodes", "2", "--max-steps", "1"),
            *("--batch-size", "24", "--labels", str(labels), "--span-filter", "none"),
        ],
    )
    assert result.exit_code == 0, result.output
    printed = " ".join(result.output.split())
    for name in ("1-way-1-shot", SETTING):
        assert f"TadNER, {name}, 2 episodes" in printed
    assert "4 results in" in printed and "gain" in printed
    name = f"episodes/{SETTING}+max_steps=1+span_filter=none.json"
    path = tmp_path / "out" / "nuner" / name
    names = json.loads(path.read_text())["settings"]["names"]
    assert names == {"fish": "what swims", "tree": "tree"}


def test_an_output_that_is_an_input_is_refused(files):
    before = read_tree(files)
    for name in ("bert", "bert/out"):
        with pytest.raises(NunerError, match="N030"):
            run(files, files / name)
    with pytest.raises(NunerError, match="N642"):
        run(files, files / "out", query_shots=99)
    assert read_tree(files) == before
