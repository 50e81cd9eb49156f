"""`compare` on a file of labelled sentences, from the command line to the files."""

import json
from functools import partial

import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.fewshot import head_choice
from spacy_nuner.fewshot.heads import Training, fit_head

from ..util import make_tiny_bert


@pytest.fixture(scope="module")
def rows(assets):
    lines = (assets / "listings" / "train.jsonl").read_text("utf8").splitlines()
    return lines[:24]


@pytest.fixture(scope="module")
def tiny(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    texts = [json.loads(line)["text"] for line in rows]
    return [
        make_tiny_bert(folder / name, texts, seed=len(name)) for name in ("a", "bb")
    ]


def run(*args):
    return CliRunner().invoke(app, ["compare", *map(str, args)])


def test_one_file_and_no_test_set(rows, tiny, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(rows))
    backbones = ("--backbones", ",".join(map(str, tiny)), "--names", "base,nuner")
    result = run(path, tmp_path / "out", *backbones, "--heads", "none")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "Take " in said and "Expect an entity F1 of " in said
    assert "Twice as many, 48 texts" in said
    content = json.loads((tmp_path / "out" / "compare.json").read_text("utf8"))
    assert {one["backbone"] for one in content["backbones"]} == {"base", "nuner"}
    assert content["texts"] == 24 and content["level"] == 0.9
    for one in content["backbones"]:
        assert list(one["curve"]) == ["4", "9", "19"]
        for key in ("expected", "twice"):
            found = one[key]
            assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    labels = {row["label"] for row in content["labels"]}
    assert labels == {
        span["label"] for line in rows for span in json.loads(line)["spans"]
    }
    text = (tmp_path / "out" / "compare.md").read_text("utf8")
    assert "- Take " in text and "![Entity F1" in text and "| label |" in text
    assert (tmp_path / "out" / "forecast.png").read_bytes()[:4] == b"\x89PNG"


def test_copies_of_a_text_say_nothing_more(rows, tiny, tmp_path, caplog):
    said = []
    for name, more in (("a", []), ("b", [rows[0]] * 30)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join([*more, *rows]))
        result = run(path, "--backbones", tiny[0], "--heads", "none")
        assert result.exit_code == 0, result.output
        said.append(result.stdout)
    assert said[0] == said[1]
    assert "30 of 54 texts stand there before, and are left out." in caplog.text


def test_without_a_folder_nothing_is_written(rows, tiny, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(rows[:10]))
    result = run(path, "--backbones", tiny[0], "--heads", "none")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "there was no other backbone to compare it with" in said
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_heads_are_trained_in_each_part(rows, tiny, tmp_path, monkeypatch):
    short = partial(Training, epochs=1, min_steps=2)
    monkeypatch.setattr(head_choice, "Training", short)
    tasks = []

    def remember(name, task):
        tasks.append((name, task))
        return fit_head(name, task)

    monkeypatch.setattr(head_choice, "fit_head", remember)
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(rows))
    (tmp_path / "labels.json").write_text(json.dumps({"ROOM": {"name": "a room"}}))
    more = ("--heads", "nuner_ner,linear", "--labels", tmp_path / "labels.json")
    result = run(path, tmp_path / "out", "--backbones", tiny[0], *more)
    assert result.exit_code == 0, result.output
    heads = json.loads((tmp_path / "out" / "compare.json").read_text("utf8"))["heads"]
    assert {one["head"] for one in heads} == {"nuner_ner", "linear"}
    assert [one["texts"] for one in heads] == [19, 19]
    assert [name for name, _ in tasks] == ["nuner_ner"] * 5 + ["linear"] * 5
    assert all(len(task.docs) == 19 and task.tuned for _, task in tasks)
    assert tasks[0][1].meanings["ROOM"].name == "a room"
    said = " ".join(result.stdout.split())
    assert "encoder tuned" in said and "points from the probe's" in said
    wrong = run(path, "--backbones", tiny[0], "--heads", "crf")
    assert wrong.exit_code == 1 and "N618" in wrong.output


def test_too_few_texts(rows, tiny, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([*rows[:4]] * 5))
    result = run(path, tmp_path / "out", "--backbones", tiny[0])
    assert result.exit_code == 1
    assert "[N634]" in result.output and "4 different texts" in result.output
    assert not (tmp_path / "out").exists()
