import json

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.readers.labelled.sets import read_docs


def run(*args):
    return CliRunner().invoke(app, ["draw", *map(str, args)])


def test_draw_writes_docbin_and_record(assets, tmp_path):
    source = assets / "listings" / "train.jsonl"
    out = tmp_path / "deep" / "train.spacy"
    result = run(source, out, "--k", 5, "--seed", 1)
    assert result.exit_code == 0, result.output
    record = json.loads(out.with_suffix(".draw.json").read_text("utf8"))
    docs = list(DocBin().from_disk(out).get_docs(spacy.blank("en").vocab))
    assert len(docs) == record["sentences"] == len(record["docs"]) < record["pool"]
    assert (record["k"], record["seed"], record["source"]) == (5, 1, "train.jsonl")
    assert min(record["mentions"].values()) >= 5
    assert sum(record["mentions"].values()) == sum(len(doc.ents) for doc in docs)
    pool = read_docs(source)
    assert [doc.text for doc in docs] == [pool[place].text for place in record["docs"]]


def test_without_k_everything_is_written(assets, tmp_path):
    source = assets / "listings" / "dev.jsonl"
    assert run(source, tmp_path / "dev.spacy").exit_code == 0
    pool, written = read_docs(source), read_docs(tmp_path / "dev.spacy")
    assert len(pool) == len(written)
    for one, other in zip(pool, written, strict=True):
        assert one.text == other.text
        assert [(e.text, e.label_) for e in one.ents] == [
            (e.text, e.label_) for e in other.ents
        ]
    record = json.loads((tmp_path / "dev.draw.json").read_text("utf8"))
    assert record["k"] is None and record["sentences"] == len(pool)


def test_what_cannot_be_drawn_leaves_nothing(assets, tmp_path):
    source = assets / "listings" / "train.jsonl"
    result = run(source, tmp_path / "a.spacy", "--k", 64)
    assert result.exit_code == 1
    assert "N611" in result.output
    assert not list(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="W603"):
        result = run(source, tmp_path / "a.spacy", "--k", 64, "--allow-fewer")
    assert result.exit_code == 0
    result = run(source, tmp_path / "a.bin")
    assert result.exit_code == 1 and "N613" in result.output


def test_spans_are_no_entities_to_draw_by(tmp_path):
    out = tmp_path / "out" / "train.spacy"
    doc = spacy.blank("en")("a bed")
    doc.spans["concepts"] = [doc[1:2]]
    DocBin(docs=[doc]).to_disk(tmp_path / "spans.spacy")
    result = run(tmp_path / "spans.spacy", out, "--k", 1)
    assert result.exit_code == 1 and "N614" in result.output
    assert not out.parent.exists()
    assert run(tmp_path / "spans.spacy", out).exit_code == 0


def test_a_json_of_the_same_name_is_left_alone(assets, tmp_path):
    (tmp_path / "dev.json").write_text("mine")
    assert run(assets / "listings" / "dev.jsonl", tmp_path / "dev.spacy").exit_code == 0
    assert (tmp_path / "dev.json").read_text() == "mine"
