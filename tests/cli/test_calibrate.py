"""`spacy nuner calibrate` prints what it found, or writes a new pipeline."""

import functools
import json
import shutil
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin, Span
from spacy.training import Example
from spacy.vocab import Vocab
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.calibrate import RESULTS, calibrate
from spacy_nuner.pipeline import calibration

from ..pipeline.conftest import ents_of, make_examples, make_nlp, tiny, train  # noqa: F401

pytestmark = pytest.mark.slow


only_concepts = pytest.mark.parametrize("factory", ["nuner_concepts"], indirect=True)
KEYS = {"nuner_concepts": "concepts", "nuner_ner": None}
# Other texts of the same kind, so that not all is found.
SENTENCES = [
    ("a flat in Leyton for 1,650", [(10, 16, "AREA"), (21, 26, "PRICE")]),
    ("Hackney , we have a cat , 900 pcm", [(0, 7, "AREA"), (26, 33, "PRICE")]),
    ("is it cheap in Hackney for 900 a month ?", [(15, 22, "AREA")]),
    ("no cat a month", []),
]


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["calibrate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    # However wide the terminal is.
    return " ".join(result.output.split())


@pytest.fixture(params=list(KEYS))
def factory(request):
    return request.param


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):  # noqa: F811
    """A function that trains a pipeline of a factory once."""
    return functools.cache(
        lambda factory: make_saved(tiny, tmp_path_factory.mktemp(factory), factory)
    )


@pytest.fixture
def saved(trained, tmp_path, factory):
    """A folder with a pipeline that makes mistakes, and a labelled set."""
    return Path(shutil.copytree(trained(factory), tmp_path / "saved"))


def make_saved(tiny, folder, factory):  # noqa: F811
    key = KEYS[factory]
    nlp = make_nlp(tiny, factory=factory)
    examples = make_examples(nlp, spans_key=key)
    train(nlp, examples, steps=30, rate=0.003)
    nlp.to_disk(folder / "model")
    docs = [eg.reference for eg in examples]
    for text, spans in SENTENCES:
        doc = nlp.make_doc(text)
        found = [doc.char_span(start, end, label) for start, end, label in spans]
        assert None not in found
        if key is None:
            doc.set_ents(found)
        else:
            doc.spans[key] = found
        docs.append(doc)
    DocBin(docs=docs).to_disk(folder / "dev.spacy")
    return folder


def evaluate(folder, data, factory):
    nlp = spacy.load(folder)
    docs = list(DocBin().from_disk(data).get_docs(nlp.vocab))
    scores = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in docs])
    return scores["spans_concepts_f" if KEYS[factory] else "ents_f"]


@pytest.mark.parametrize("per_concept", [False, True])
def test_f1_is_that_of_evaluate(saved, factory, per_concept):
    """Before and after: one decoder, and what is written is what was measured."""
    model, data, out = saved / "model", saved / "dev.spacy", saved / "out"
    found = calibrate(model, data, out, per_concept=per_concept)
    before, after = found["f1"]["before"], found["f1"]["after"]
    assert 0.0 < before <= after
    assert evaluate(model, data, factory) == pytest.approx(before, abs=1e-6)
    assert evaluate(out, data, factory) == pytest.approx(after, abs=1e-6)


def test_nothing_is_written_without_an_output(saved, factory):
    files = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    printed = run(saved / "model", saved / "dev.spacy")
    after = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    assert after == files
    assert "F1 of 11 spans" in printed and "temperature" in printed
    if factory == "nuner_ner":
        assert "nuner_ner has no threshold" in printed
    else:
        assert "threshold 0." in printed


def test_the_threshold_is_in_the_config_and_the_temperature_in_the_weights(
    saved, factory
):
    run(saved / "model", saved / "dev.spacy", saved / "out")
    found = json.loads((saved / "out" / RESULTS).read_text("utf8"))
    nlps = [spacy.load(saved / name) for name in ("model", "out")]
    pipes = [nlp.get_pipe(factory) for nlp in nlps]
    logits = [
        pipe.predict([nlp.get_pipe("transformer")(nlp.make_doc("in Hackney now"))])[0]
        for pipe, nlp in zip(pipes, nlps, strict=True)
    ]
    # 1 where the likeliest one would cost F1: with several thresholds that is up to the
    # word pieces, which a tokenizer does not learn twice alike.
    assert found["temperature"] > 0.0
    assert factory == "nuner_concepts" or found["temperature"] != 1.0
    scaled, before = logits[1] * found["temperature"], logits[0]
    assert scaled[:, :2] == pytest.approx(before[:, :2], abs=1e-4)
    # Boundaries are where they were.
    assert logits[1][:, 2:] == pytest.approx(before[:, 2:], abs=1e-4)
    if factory == "nuner_concepts":
        config = nlps[1].config["components"][factory]
        assert config["threshold"] == pipes[1].threshold
        assert config["threshold"] == pytest.approx(found["threshold"], abs=1e-6)
        assert config["threshold"] != nlps[0].config["components"][factory]["threshold"]
    else:
        assert "threshold" not in nlps[1].config["components"][factory]
        text = SENTENCES[1][0]
        assert ents_of(nlps[0](text)) == ents_of(nlps[1](text))


@only_concepts
def test_one_threshold_a_label(saved, factory):
    run(saved / "model", saved / "dev.spacy", saved / "out", "--per-concept")
    nlp = spacy.load(saved / "out")
    found = json.loads((saved / "out" / RESULTS).read_text("utf8"))["threshold"]
    assert nlp.get_pipe(factory).threshold == pytest.approx(found)
    assert set(found) == {"AREA", "PRICE"}
    # Labels are no keys of the config.
    assert not isinstance(nlp.config["components"][factory]["threshold"], dict)


def test_labels_that_can_be_no_keys_of_a_config(tiny, tmp_path):  # noqa: F811
    names = {"AREA": "schema:Place = [a]", "PRICE": "schema:Sum\n#${x}"}
    nlp = make_nlp(tiny)
    examples = make_examples(nlp, spans_key="concepts")
    for eg in examples:
        doc = eg.reference
        doc.spans["concepts"] = [
            Span(doc, span.start, span.end, label=names[span.label_])
            for span in doc.spans["concepts"]
        ]
    train(nlp, examples, steps=30, rate=0.003)
    nlp.to_disk(tmp_path / "model")
    DocBin(docs=[eg.reference for eg in examples]).to_disk(tmp_path / "dev.spacy")
    out = tmp_path / "out"
    run(tmp_path / "model", tmp_path / "dev.spacy", out, "--per-concept")
    pipe = spacy.load(out).get_pipe("nuner_concepts")
    assert pipe.labels == tuple(sorted(names.values()))
    found = json.loads((out / RESULTS).read_text("utf8"))["threshold"]
    assert pipe.threshold == pytest.approx(found)
    assert set(found) == set(names.values())


def test_nothing_is_written_that_can_not_be_loaded(saved, factory, monkeypatch):
    model, data, out = saved / "model", saved / "dev.spacy", saved / "out"
    to_disk = Language.to_disk

    def lose(nlp, path, **kwargs):
        to_disk(nlp, path, **kwargs)
        (path / "config.cfg").write_text("[nlp\n")

    monkeypatch.setattr(Language, "to_disk", lose)
    assert "N517" in run(model, data, out, code=1)
    assert not out.exists()
    if factory == "nuner_concepts":

        def forget(nlp, path, **kwargs):
            nlp.get_pipe_config(factory)["threshold"] = 0.125
            to_disk(nlp, path, **kwargs)

        monkeypatch.setattr(Language, "to_disk", forget)
        assert "N517" in run(model, data, out, code=1)
        assert not out.exists()


def test_figures_of_the_probabilities(saved):
    report = saved / "report"
    run(saved / "model", saved / "dev.spacy", "--report", report)
    content = json.loads((report / RESULTS).read_text("utf8"))
    drawn = (report / "reliability.svg").read_text("utf8")
    assert drawn.count("<!-- before -->") == drawn.count("<!-- after -->") == 1
    assert (report / "reliability.png").read_bytes().startswith(b"\x89PNG")
    docs = list(DocBin().from_disk(saved / "dev.spacy").get_docs(Vocab()))
    pairs = 2 * sum(map(len, docs))
    spans = [x for doc in docs for x in (*doc.spans.get("concepts", []), *doc.ents)]
    assert list(content["reliability"]) == ["before", "after"]
    for rows in content["reliability"].values():
        assert sum(count for *_, count in rows) == pairs
        # Bins of a tenth, and in them what is true of all.
        assert [int(10 * p) for p, *_ in rows] == sorted(
            {int(10 * p) for p, *_ in rows}
        )
        true = sum(share * count for _, share, count in rows)
        assert true == pytest.approx(sum(map(len, spans)), abs=1e-3)


def test_what_cannot_be_calibrated(saved):
    model, data = saved / "model", saved / "dev.spacy"
    spans = [{"start": 3, "end": 10, "label": "X"}]
    (saved / "other.jsonl").write_text(
        json.dumps({"text": "in Hackney", "spans": spans})
    )
    assert "N650" in run(saved / "gone", data, code=1)
    assert "N513" in run(model, data, "--pipe-name", "ner", code=1)
    assert "N505" in run(model, saved / "other.jsonl", code=1)
    assert "N030" in run(model, data, saved / "x" / ".." / "model", code=1)


def test_only_an_own_folder_is_replaced(saved):
    model, data, out = saved / "model", saved / "dev.spacy", saved / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    assert "N004" in run(model, data, out, code=1)
    assert [path.name for path in out.iterdir()] == ["README.md"]
    (out / "README.md").unlink()
    for _ in range(2):
        run(model, data, out)
        assert spacy.load(out).pipe_names == spacy.load(model).pipe_names


@only_concepts
def test_settings_that_find_less_are_not_written(saved, factory, monkeypatch):
    worst = (1.0, 0 * spacy.load(saved / "model").get_pipe(factory).thresholds + 1)
    monkeypatch.setattr(calibration, "find_thresholds", lambda *_: worst)
    printed = run(saved / "model", saved / "dev.spacy", saved / "out")
    assert "W506" in printed and not (saved / "out").exists()


def test_no_temperature_is_best(saved, factory, monkeypatch):
    monkeypatch.setattr(calibration, "fit_temperature", lambda *_: None)
    printed = run(saved / "model", saved / "dev.spacy", saved / "out")
    assert "W505" in printed and "; temperature" not in printed
    pipes = [spacy.load(saved / name).get_pipe(factory) for name in ("model", "out")]
    weights = [pipe.model.get_ref("output_layer").layers[0] for pipe in pipes]
    for name in ("W", "b"):
        assert (weights[0].get_param(name) == weights[1].get_param(name)).all()


def test_labels_that_the_component_does_not_know_are_told(saved, factory):
    key = KEYS[factory]
    docs = list(DocBin().from_disk(saved / "dev.spacy").get_docs(Vocab()))
    first = list(docs[0].ents if key is None else docs[0].spans[key])
    first[0] = Span(docs[0], first[0].start, first[0].end, label="AERA")
    if key is None:
        docs[0].set_ents(first)
    else:
        docs[0].spans[key] = first
    DocBin(docs=docs).to_disk(saved / "typo.spacy")
    printed = run(saved / "model", saved / "typo.spacy")
    assert "W507" in printed and "AERA (1)" in printed
    assert "F1 of 10 spans" in printed
