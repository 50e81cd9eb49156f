"""LLMs in context against a server on loopback."""

import json
import re

import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.corpus.labelled_docs import read_docs
from spacy_nuner.fewshot import probe
from spacy_nuner.fewshot.draws import draw_docs
from spacy_nuner.fewshot.results import read_cells

from ..annotate.server import Server

TRAIN = [
    ("Ana lives in Rome", [(0, 3, "PER"), (13, 17, "CITY")]),
    ("Bob left Oslo", [(0, 3, "PER"), (9, 13, "CITY")]),
]
TEST = [
    ("Eva saw Rome and Rome", [(0, 3, "PER"), (8, 12, "CITY"), (17, 21, "CITY")]),
    ("They met Max in Oslo", [(9, 12, "PER"), (16, 20, "CITY")]),
    ("Nobody came", []),
]
PEOPLE, CITIES = {"Eva", "Max", "Ana", "Bob"}, {"Rome", "Oslo"}


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def sets(tmp_path):
    folder = tmp_path / "towns"
    folder.mkdir()
    for name, rows in (("train", TRAIN), ("test", TEST)):
        lines = [
            json.dumps({"text": text, "spans": [spell(*ent) for ent in ents]})
            for text, ents in rows
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf8")
    labels = {"PER": {"name": "person", "description": "who"}, "CITY": None}
    (folder / "labels.json").write_text(json.dumps(labels), "utf8")
    return folder


def spell(start, end, label):
    return {"start": start, "end": end, "label": label}


def run(sets, server, tmp_path, *more):
    paths = [sets / "train.jsonl", sets / "test.jsonl", tmp_path / "a.db"]
    args = ["in-context", *paths, tmp_path / "metrics", "--model", "org/some-model"]
    args += ["--base-url", server.url, "--labels", sets / "labels.json", *more]
    return CliRunner().invoke(app, [str(arg) for arg in args])


def answer_as_spacy_llm(body):
    """A model that knows the names, and calls Rome a person the first time."""
    prompt = body["messages"][0]["content"]
    text = prompt.rpartition("Paragraph: ")[2].rpartition("\nAnswer:")[0]
    words = re.findall(r"\w+", text)
    lines = []
    for number, word in enumerate(words, 1):
        label = "person" if word in PEOPLE else "CITY" if word in CITIES else "==NONE=="
        true = label != "==NONE=="
        lines.append(f"{number}. {word} | {true} | {label} | is a {label}")
    return "<think>Let me see.</think>" + "\n".join(lines)


def answer_as_universalner(body):
    """A model that finds Rome and Oslo anywhere, and people but for Max."""
    text = body["prompt"].partition("Text: ")[2].partition(" ASSISTANT:")[0]
    known = PEOPLE - {"Max"} if "describes person in" in body["prompt"] else CITIES
    return json.dumps([word for word in re.findall(r"\w+", text) if word in known])


def test_spacy_llm_with_examples(sets, tmp_path):
    with Server(reply=answer_as_spacy_llm) as server:
        result = run(sets, server, tmp_path, "--k", "0,1", "--draws", 2)
        assert result.exit_code == 0, result.output
        prompts = [body["messages"][0]["content"] for body in server.bodies]
        asked = server.requests
        # What is finished is not asked again.
        again = run(sets, server, tmp_path, "--k", "0,1", "--draws", 2)
        assert again.exit_code == 0, again.output
        assert server.requests == asked
    assert all(body["temperature"] == 0 for body in server.bodies)
    assert all("person: who" in prompt for prompt in prompts)
    without = [prompt for prompt in prompts if "Sriracha" in prompt]
    assert len(without) == len(TEST)
    shown = [prompt for prompt in prompts if prompt not in without]
    first = re.compile(r"1\. (Ana|Bob) \| True \| person \| is a person")
    assert len(shown) == 2 * len(TEST)
    assert all(map(first.search, shown))
    cells = read_cells(tmp_path / "metrics")
    assert sorted((cell.k, cell.draw) for cell in cells) == [(0, 0), (1, 0), (1, 1)]
    for cell in cells:
        assert (cell.backbone, cell.head) == ("org-some-model", "spacy-llm")
        assert cell.scores["ents_f"] == 1.0
        assert cell.scores["prompt_tokens"] == 100 * len(TEST)
        assert cell.scores["completion_tokens"] == 50 * len(TEST)
        assert "cost" not in cell.scores
        assert "strings_f" not in cell.scores
        assert cell.versions["spacy-llm"]
    # The same draws as heads have.
    pool = read_docs(str(sets / "train.jsonl"))
    for cell in cells[1:]:
        assert cell.settings["docs"] == draw_docs(pool, 1, seed=cell.draw).docs


def test_universalner_is_scored_by_both_rules(sets, tmp_path):
    with Server(reply=answer_as_universalner) as server:
        result = run(sets, server, tmp_path, "--way", "universalner")
        assert result.exit_code == 0, result.output
    assert server.requests == 2 * len(TEST)
    body = server.bodies[0]
    assert body["stop"] == "</s>"
    assert body["max_tokens"] == 256
    (cell,) = read_cells(tmp_path / "metrics")
    assert cell.k == 0
    # Of five spans four; of four strings (Rome counts once) three.
    assert cell.scores["ents_r"] == pytest.approx(4 / 5)
    assert cell.scores["strings_r"] == pytest.approx(3 / 4)
    assert cell.scores["ents_p"] == cell.scores["strings_p"] == 1.0
    # The server counted nothing.
    assert cell.scores["prompt_tokens"] is None


def test_labels_that_are_not_asked_for(sets, tmp_path):
    """UniversalNER's authors leave "misc" of CrossNER out."""
    with Server(reply=answer_as_universalner) as server:
        only = ["--way", "universalner", "--only", "PER"]
        result = run(sets, server, tmp_path, *only)
        assert result.exit_code == 0, result.output
    assert server.requests == len(TEST)
    (cell,) = read_cells(tmp_path / "metrics")
    assert set(cell.scores["ents_per_type"]) == {"PER"}


def test_what_scores_need_is_there_before_anything_is_paid_for(
    sets, tmp_path, monkeypatch
):
    monkeypatch.setattr(probe, "find_spec", lambda name: None)
    with Server(reply=answer_as_universalner) as server:
        result = run(sets, server, tmp_path, "--way", "universalner")
    assert result.exit_code == 1 and "N006" in result.output
    assert "spacy-nuner[fewshot]" in "".join(result.output.split("\n"))
    assert server.requests == 0


def test_sentences_without_an_entity_are_not_paid_for(sets, tmp_path):
    lines = (sets / "test.jsonl").read_text("utf8").splitlines()
    empty = json.dumps({"text": "It rains.", "spans": []})
    (sets / "test.jsonl").write_text("\n".join([*([empty] * 60), lines[0]]), "utf8")
    with Server(reply=answer_as_universalner) as server:
        limit = ["--way", "universalner", "--limit", 1]
        result = run(sets, server, tmp_path, *limit)
    assert result.exit_code == 1 and "N614" in result.output
    assert server.requests == 0


def test_tokens_are_priced_and_counted_once(sets, tmp_path):
    prices = tmp_path / "prices.json"
    table = {"currency": "EUR", "models": {"org/some-model": {"input": 1, "output": 2}}}
    prices.write_text(json.dumps(table))
    # A text that is there twice is asked about once.
    path = sets / "test.jsonl"
    lines = path.read_text("utf8").splitlines()
    path.write_text("\n".join([*lines, lines[0]]) + "\n", "utf8")

    def reply(body):
        content = answer_as_spacy_llm(body)
        if "They met Max" in body["messages"][0]["content"]:
            return {"message": {"content": content}, "finish_reason": "length"}
        return content

    with Server(reply=reply) as server:
        first = run(sets, server, tmp_path, "--k", "0")
        assert first.exit_code == 0, first.output
        (cell,) = read_cells(tmp_path / "metrics")
        assert "cost" not in cell.scores
        # The price is known later.
        again = run(sets, server, tmp_path, "--k", "0", "--prices", prices)
        assert again.exit_code == 0, again.output
    assert server.requests == len(TEST)
    (cell,) = read_cells(tmp_path / "metrics")
    assert cell.scores["prompt_tokens"] == 100 * len(TEST)
    assert cell.scores["cost"] == pytest.approx((100 + 2 * 50) * len(TEST) / 1e6)
    assert cell.scores["currency"] == "EUR"
    assert (cell.scores["truncated"], cell.scores["refused"]) == (1, 0)


def test_what_is_complete_is_scored_when_a_run_stops(sets, tmp_path):
    prices = tmp_path / "prices.json"
    table = {"models": {"org/some-model": {"input": 0, "output": 1e4}}}
    prices.write_text(json.dumps(table))
    more = ("--prices", prices, "--max-tokens", 100, "--concurrency", 1)
    with Server(reply=answer_as_spacy_llm) as server:
        result = run(sets, server, tmp_path, "--k", "0,1", *more, "--max-cost", 3.1)
        assert result.exit_code == 1 and "N208" in result.output
        (cell,) = read_cells(tmp_path / "metrics")
        assert cell.k == 0 and server.requests > len(TEST)
        result = run(sets, server, tmp_path, "--k", "0,1", *more)
        assert result.exit_code == 0, result.output
    assert {cell.k for cell in read_cells(tmp_path / "metrics")} == {0, 1}


def test_texts_that_cannot_be_asked_about(sets, tmp_path):
    path = sets / "test.jsonl"
    row = {"text": "Eva \ufffd saw", "spans": [spell(0, 3, "PER")]}
    path.write_text(path.read_text("utf8") + json.dumps(row) + "\n", "utf8")
    with Server(reply=answer_as_spacy_llm) as server:
        result = run(sets, server, tmp_path, "--k", "0")
        assert result.exit_code == 0, result.output
    assert server.requests == len(TEST)
    (cell,) = read_cells(tmp_path / "metrics")
    assert cell.scores["unasked"] == 1
    assert cell.scores["ents_r"] == pytest.approx(5 / 6)


def test_a_dry_run_asks_nothing(sets, tmp_path):
    with Server(reply=answer_as_spacy_llm) as server:
        result = run(sets, server, tmp_path, "--k", "0,1", "--dry-run")
        assert result.exit_code == 0, result.output
        assert server.requests == 0
    assert "6 to ask in 6 requests" in result.output
    assert not (tmp_path / "metrics").exists()
    assert not (tmp_path / "a.db").exists()


def test_what_has_no_answer_is_asked_again(sets, tmp_path):
    broken = ["Nobody came"]

    def reply(body):
        text = body["messages"][0]["content"]
        if "Sriracha" in text and any(one in text for one in broken):
            return {"message": None, "finish_reason": None}
        return answer_as_spacy_llm(body)

    with Server(reply=reply) as server:
        result = run(sets, server, tmp_path, "--k", "0,1", "--retries", 0)
        assert result.exit_code == 1
        assert "N627" in result.output
        assert "1 of 3" in result.output
        # What is complete is scored.
        assert [cell.k for cell in read_cells(tmp_path / "metrics")] == [1]
        broken.clear()
        asked = server.requests
        result = run(sets, server, tmp_path, "--k", "0,1", "--retries", 0)
        assert result.exit_code == 0, result.output
        assert server.requests == asked + 1
    assert [cell.k for cell in read_cells(tmp_path / "metrics")] == [0, 1]


def test_two_labels_of_one_name_are_refused(sets, tmp_path):
    labels = {"PER": {"name": "town "}, "CITY": {"name": "Town"}}
    (sets / "labels.json").write_text(json.dumps(labels))
    with Server(reply=answer_as_spacy_llm) as server:
        result = run(sets, server, tmp_path, "--k", "0")
    assert result.exit_code == 1
    assert "N628" in result.output


def test_examples_for_universalner_are_refused(sets, tmp_path):
    with Server(reply=answer_as_universalner) as server:
        result = run(sets, server, tmp_path, "--way", "universalner", "--k", "5")
        assert result.exit_code == 2
        assert server.requests == 0


def test_a_part_of_the_test_set(sets, tmp_path):
    with Server(reply=answer_as_spacy_llm) as server:
        result = run(sets, server, tmp_path, "--k", "0", "--limit", 2)
        assert result.exit_code == 0, result.output
        assert server.requests == 2
    (cell,) = read_cells(tmp_path / "metrics")
    # Not beside heads that are scored on all.
    assert cell.layers == "mentions-spacy-llm-on-2"


def test_the_report_marks_the_other_rule(sets, tmp_path):
    with Server(reply=answer_as_universalner) as server:
        assert run(sets, server, tmp_path, "--way", "universalner").exit_code == 0
    args = [
        "report",
        tmp_path / "metrics",
        tmp_path / "out",
        "--base",
        "org-some-model",
    ]
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "report.md").read_text("utf8")
    assert "Models in context" in page
    assert "must not be compared with F1 of spans" in page
    assert "F1 of strings" in page
