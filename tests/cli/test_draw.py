import json

import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.draw import draw
from spacy_nuner.corpus.labelled_docs import read_docs


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


def test_k_must_be_named(assets, tmp_path):
    result = run(assets / "listings" / "dev.jsonl", tmp_path / "dev.spacy")
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_drawn_leaves_nothing(assets, tmp_path):
    source = assets / "listings" / "train.jsonl"
    result = run(source, tmp_path / "a.spacy", "--k", 64)
    assert result.exit_code == 1
    assert "N611" in result.output
    assert not list(tmp_path.iterdir())
    result = run(source, tmp_path / "a.spacy", "--k", 64, "--allow-fewer")
    assert result.exit_code == 0
    assert "W603" in result.output and "warnings.warn" not in result.output
    result = run(source, tmp_path / "a.bin", "--k", 1)
    assert result.exit_code == 1 and "N107" in result.output


def test_spans_are_no_entities_to_draw_by(tmp_path):
    out = tmp_path / "out" / "train.spacy"
    doc = spacy.blank("en")("a bed")
    doc.spans["concepts"] = [doc[1:2]]
    DocBin(docs=[doc]).to_disk(tmp_path / "spans.spacy")
    result = run(tmp_path / "spans.spacy", out, "--k", 1)
    assert result.exit_code == 1 and "N614" in result.output
    assert not out.parent.exists()


def test_what_draw_did_not_make_is_left_alone(assets, tmp_path):
    source = assets / "listings" / "dev.jsonl"
    (tmp_path / "dev.json").write_text("mine")
    for _ in range(2):
        result = run(source, tmp_path / "dev.spacy", "--k", 1)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "dev.json").read_text() == "mine"
    (tmp_path / "own.spacy").write_text("mine")
    result = run(source, tmp_path / "own.spacy", "--k", 1)
    assert result.exit_code == 1 and "N110" in result.output
    assert (tmp_path / "own.spacy").read_text() == "mine"


def test_it_can_be_called(assets, tmp_path):
    drawn = draw(assets / "listings" / "train.jsonl", tmp_path / "a.spacy", k=2)
    assert drawn["k"] == 2 and min(drawn["mentions"].values()) >= 2
    assert len(read_docs(tmp_path / "a.spacy")) == drawn["sentences"]
