"""Names that no file system has end in a numbered error, results in their own."""

import json
import os

import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app

LONG = "x" * 1000
NAMES = [LONG, f"a/{LONG}", "y" * 300 + "/b", "z/" * 3000, f"{LONG}.jsonl", "a\0b"]


def run(*args):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert "Traceback" not in result.output, result.output[-500:]
    return result


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_that_no_file_can_have(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    row = {"text": "Ana", "spans": [{"start": 0, "end": 3, "label": "A"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    model = ("--model", "m")
    for command in (
        ("annotate", "rows.jsonl", "store", *model, "--prompt", name),
        ("annotate", "rows.jsonl", "store", *model, "--prices", name),
        ("annotate", name, "store", *model),
        ("sample", name, "o.jsonl", "--n", 1),
        ("convert", name, "o"),
        ("stats", name, "o"),
        ("import", name, "o.spacy"),
        ("draw", name, "o.spacy", "--k", 1),
        ("show", name, "hello", "o", "--labels", "a"),
        ("report", name, "o"),
        ("import", "rows.jsonl", "o.spacy", "--labels", name),
    ):
        result = run(*command)
        # 2 where it is an argument that can't be read.
        assert result.exit_code in (1, 2)
        assert result.exit_code == 2 or "[N" in result.output
    # Of several names of tags none is a file's.
    several = ("--labels", f"{name},b")
    assert run("import", "rows.jsonl", "o.spacy", *several).exit_code == 0


CELL = {
    **{"dataset": "d", "backbone": "base", "layers": "last", "k": 1, "draw": 0},
    **{"sentences": 3, "mentions": {"a": 1}, "macro_token_f": 0.5, "ents_f": 0.4},
    "settings": {"encoder": {"name": "x"}, "hidden_layers": [1]},
}
ODD = ["\x1b[31m", {}, -1, float("nan"), 10**30, [None]]


def test_a_report_of_results_that_are_none(tmp_path):
    path = tmp_path / "m" / "d" / "k1" / "draw0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(CELL))
    assert run("report", tmp_path / "m", tmp_path / "o").exit_code == 0
    for key in CELL:
        for value in ODD:
            if (key, value) in [("mentions", {})] or (
                isinstance(CELL[key], str) and isinstance(value, str)
            ):
                continue
            path.write_text(json.dumps(CELL | {key: value}))
            result = run("report", tmp_path / "m", tmp_path / "o")
            assert result.exit_code == 1, (key, value)
            assert "N631" in result.output


def test_stats_of_a_report_that_is_none(tmp_path):
    row = {"text": "Ana", "entities": [{"text": "Ana", "concept": "name"}]}
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    assert run("convert", tmp_path / "r.jsonl", tmp_path / "c").exit_code == 0
    (path,) = (tmp_path / "c").rglob("report.json")
    report = json.loads(path.read_text())
    for part in ("records", "annotations"):
        for key in report[part]:
            if key in ("spans", "occurring_more_than_once"):
                # Not shown.
                continue
            for value in ["x", [], -1, {"a": 10**30}]:
                path.write_text(
                    json.dumps(report | {part: report[part] | {key: value}})
                )
                result = run(
                    "stats", tmp_path / "c", tmp_path / f"s{os.urandom(4).hex()}"
                )
                assert result.exit_code == 1, (part, key, value)
                assert "N635" in result.output
        path.write_text(json.dumps(report | {part: None}))
        assert "N635" in run("stats", tmp_path / "c", tmp_path / "s").output
