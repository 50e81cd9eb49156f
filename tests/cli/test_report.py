"""`report` with the corpus that a backbone was pre-trained on."""

from dataclasses import replace

from typer.testing import CliRunner

from spacy_nuner.cli.app import app

from ..fewshot.test_report import make_cell
from ..pretrain.conftest import SENTENCES, TEXTS, write_corpus
from ..util import make_tiny_bert


def run(*args):
    return CliRunner().invoke(app, ["report", *map(str, args)])


def test_types_that_the_corpus_has_by_name(tmp_path):
    cell = make_cell("a", "base", 1, 0, 0.5)
    types = dict.fromkeys(["city", "Historical_Event", "spaceship"], 0.5)
    cell = replace(cell, scores={**cell.scores, "token_f_per_label": types})
    cell.to_disk(tmp_path / "metrics")
    write_corpus(tmp_path / "corpus", SENTENCES)
    encoder = make_tiny_bert(tmp_path / "bert", TEXTS)
    out = tmp_path / "out"
    options = ("--corpus", tmp_path / "corpus", "--encoder", encoder)
    result = run(tmp_path / "metrics", out, *options)
    assert result.exit_code == 0, result.output
    text = (out / "report.md").read_text("utf8")
    assert "Of the 3 types of the test set" in text
    assert "has 1 by exactly that name, 2 case-folded" in text
    assert "| city | a | exact | 50.0 |" in text
    result = run(tmp_path / "metrics", out, "--corpus", tmp_path / "nowhere")
    assert result.exit_code == 1 and "[N105]" in result.output
