import json

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin, Span
from spacy.vocab import Vocab
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.pipeline import calibration

from ..pipeline.conftest import make_examples, make_nlp, tiny  # noqa: F401


def run(*arguments):
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def make_pipeline(tiny, folder):  # noqa: F811
    nlp = make_nlp(tiny)
    examples = make_examples(nlp, spans_key="concepts")
    nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(nlp._optimizer)
    nlp.to_disk(folder / "model")
    DocBin(docs=[eg.reference for eg in examples]).to_disk(folder / "dev.spacy")


def test_settings_are_written_into_the_pipeline(tiny, tmp_path):  # noqa: F811
    make_pipeline(tiny, tmp_path)
    for extra in ([], ["--per-concept"]):
        result = run(tmp_path / "model", tmp_path / "dev.spacy", *extra)
        assert result.exit_code == 0, result.output
        facts = json.loads(
            (tmp_path / "model-calibration" / "calibration.json").read_text("utf8")
        )
        assert facts["f1"]["after"] >= facts["f1"]["before"]
        assert facts["f1"]["after"] > 0.5
        nlp = spacy.load(tmp_path / "model")
        cfg = nlp.get_pipe("nuner_concepts").cfg
        assert abs(cfg["temperature"] - facts["temperature"]) < 1e-6
        config = nlp.config["components"]["nuner_concepts"]
        assert (
            (set(config["threshold"]) == {"AREA", "PRICE"})
            if extra
            else (abs(config["threshold"] - facts["threshold"]) < 1e-6)
        )
    for suffix in ("png", "svg"):
        figure = tmp_path / "model-calibration" / f"reliability.{suffix}"
        assert figure.stat().st_size > 1000


def test_what_cannot_be_calibrated(tiny, tmp_path):  # noqa: F811
    make_pipeline(tiny, tmp_path)
    (tmp_path / "other.jsonl").write_text(
        json.dumps(
            {"text": "in Hackney", "spans": [{"start": 3, "end": 10, "label": "X"}]}
        )
    )
    for arguments, code in (
        ((tmp_path / "gone", tmp_path / "dev.spacy"), "N005"),
        ((tmp_path / "model", tmp_path / "other.jsonl"), "N505"),
        ((tmp_path / "model", tmp_path / "dev.spacy", "--pipe-name", "ner"), "N005"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert code in result.output


def test_what_else_lies_in_the_folder_stays(tiny, tmp_path):  # noqa: F811
    make_pipeline(tiny, tmp_path)
    model = tmp_path / "model"
    (model / ".git").mkdir()
    (model / ".git" / "HEAD").write_text("ref")
    (model / "README.md").write_text("mine")
    weights = (model / "nuner_concepts" / "model").stat().st_mtime_ns
    assert run(model, tmp_path / "dev.spacy").exit_code == 0
    assert (model / ".git" / "HEAD").read_text() == "ref"
    assert (model / "README.md").read_text() == "mine"
    assert (model / "nuner_concepts" / "model").stat().st_mtime_ns == weights


def test_settings_that_find_less_are_not_written(tiny, tmp_path, monkeypatch):  # noqa: F811
    make_pipeline(tiny, tmp_path)
    assert run(tmp_path / "model", tmp_path / "dev.spacy").exit_code == 0
    before = spacy.load(tmp_path / "model").get_pipe("nuner_concepts").cfg
    worst = (1.0, np.ones(2))
    monkeypatch.setattr(calibration, "find_thresholds", lambda *_: worst)
    result = run(tmp_path / "model", tmp_path / "dev.spacy")
    assert result.exit_code == 0 and "W506" in result.output
    assert spacy.load(tmp_path / "model").get_pipe("nuner_concepts").cfg == before


def test_labels_that_the_component_does_not_know_are_told(tiny, tmp_path):  # noqa: F811
    make_pipeline(tiny, tmp_path)
    docs = list(DocBin().from_disk(tmp_path / "dev.spacy").get_docs(Vocab()))
    group = docs[0].spans["concepts"]
    group[0] = Span(docs[0], group[0].start, group[0].end, label="AERA")
    docs[0].spans["concepts"] = group
    DocBin(docs=docs).to_disk(tmp_path / "typo.spacy")
    with pytest.warns(UserWarning, match=r"W507.*AERA \(1\)"):
        result = run(tmp_path / "model", tmp_path / "typo.spacy")
    assert result.exit_code == 0 and "F1 of 5 spans" in result.output


def test_exclusive_labels_have_no_threshold(tiny, tmp_path):  # noqa: F811
    make_pipeline(tiny, tmp_path)
    nlp = spacy.load(
        tmp_path / "model",
        config={"components": {"nuner_concepts": {"exclusive": True}}},
    )
    nlp.to_disk(tmp_path / "model")
    result = run(tmp_path / "model", tmp_path / "dev.spacy")
    assert "no threshold is used" in " ".join(result.output.split())
    config = spacy.load(tmp_path / "model").config["components"]["nuner_concepts"]
    assert config["threshold"] is None and config["temperature"] != 1.0
