"""Labels known by their names alone, on a backbone that the test pre-trains."""

import json
import shutil
import warnings

import pytest
import spacy
from spacy.tokens import Doc, Span
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.zero_shot import zero_shot
from spacy_nuner.encoders.folder import INFO_FILE
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.compare import Dataset, find_backbones
from spacy_nuner.fewshot.results import read_cells
from spacy_nuner.fewshot.zero_shot import (
    complete_labels,
    make_tagger,
    run_zero_shot,
)
from spacy_nuner.pipeline.decoding import THRESHOLD
from spacy_nuner.pipeline.labels import Label, read_labels

from ..conftest import ROOT
from ..util import make_tiny_bert

pytestmark = pytest.mark.slow


FOLDER = ROOT / "assets" / "labels"

# As words so that one label is found by its name and the other needs one.
TEXTS = [
    ("Leyton costs 900", [(0, 1, "Area"), (2, 3, "P_1")]),
    ("900 for Hackney", [(0, 1, "P_1"), (2, 3, "Area")]),
]
LABELS = {"P_1": Label("price")}


@pytest.fixture
def docs():
    vocab = spacy.blank("en").vocab
    made = []
    for text, spans in TEXTS:
        doc = Doc(vocab, words=text.split())
        doc.ents = [Span(doc, start, end, label) for start, end, label in spans]
        made.append(doc)
    return made


@pytest.fixture
def conll(docs, tmp_path):
    path = tmp_path / "set" / "test.conll"
    path.parent.mkdir()
    lines = [
        "\n".join(f"{t.text}\t{t.ent_iob_}-{t.ent_type_}".rstrip("-") for t in doc)
        for doc in docs
    ]
    path.write_text("\n\n".join(lines) + "\n")
    return path


def run(docs, backbone, output, *, labels=LABELS, threshold=None):
    return run_zero_shot(
        Dataset("flats", [], docs, {"test": "a"}),
        find_backbones([backbone], names=["nuner"], layers=["last"]),
        complete_labels(docs, labels),
        output,
        threshold=threshold,
    )


def test_names_alone_find_entities(docs, backbone, tmp_path):
    (cell,) = run(docs, backbone, tmp_path)
    assert cell.k == 0 and cell.mentions == {}
    assert cell.scores["ents_f"] == cell.scores["macro_token_f"] == 1.0
    assert cell.settings["names"]["P_1"]["name"] == "price"
    assert read_cells(tmp_path) == [cell]
    assert (tmp_path / "flats/nuner/last/k0/draw0.json").is_file()


def test_without_its_name_a_label_says_nothing(docs, backbone, tmp_path):
    labels = {"P_1": Label("area"), "Area": Label("price")}
    (cell,) = run(docs, backbone, tmp_path, labels=labels)
    assert cell.scores["ents_f"] == 0.0


def test_the_threshold_is_a_setting(docs, backbone, tmp_path):
    (never,) = run(docs, backbone, tmp_path, threshold=0.999999)
    assert never.scores["ents_f"] == 0.0
    assert never.settings["threshold"] == 0.999999
    # A cell of another threshold is made again, one of the same is not.
    (cell,) = run(docs, backbone, tmp_path)
    assert cell.scores["ents_f"] == 1.0
    assert cell.settings["threshold"] == THRESHOLD
    assert run(docs, backbone, tmp_path) == [cell]


def test_what_reads_names_is_part_of_an_identity(backbone, tmp_path):
    folder = tmp_path / "backbone"
    shutil.copytree(backbone, folder)
    info = json.loads((folder / INFO_FILE).read_text())

    def identify():
        (found,) = find_backbones([str(folder)], names=["nuner"], layers=["last"])
        return found

    first = identify()
    seen = {first.naming_identity["concepts"]}
    # What is not read of it changes nothing.
    (folder / INFO_FILE).write_text(json.dumps({**info, "created": "2000"}))
    assert identify().naming_identity == first.naming_identity
    (folder / INFO_FILE).write_text(json.dumps({**info, "bias": -1}))
    seen.add(identify().naming_identity["concepts"])
    for name in ("model.safetensors", "background.safetensors"):
        path = folder / "concept_encoder" / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        seen.add(identify().naming_identity["concepts"])
    assert len(seen) == 4
    assert identify().identity == first.identity


def test_a_cell_of_another_concept_encoder_is_made_again(docs, backbone, tmp_path):
    folder = tmp_path / "backbone"
    shutil.copytree(backbone, folder)
    (before,) = run(docs, str(folder), tmp_path / "out")
    assert before.scores["ents_f"] == 1.0
    path = folder / "nuner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bias": -1000}))
    (after,) = run(docs, str(folder), tmp_path / "out")
    assert after.scores["ents_f"] == 0.0


def test_scores_are_those_of_the_component(docs, backbone, tmp_path):
    nlp = make_tagger(backbone, complete_labels(docs, LABELS))
    found = [[(e.text, e.label_) for e in nlp(doc.text).ents] for doc in docs]
    assert found == [[(e.text, e.label_) for e in doc.ents] for doc in docs]


def test_a_backbone_without_concept_encoder_is_refused(docs, tmp_path):
    tiny = make_tiny_bert(tmp_path / "tiny", [doc.text for doc in docs])
    with pytest.raises(NunerError, match="N625"):
        run(docs, str(tiny), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_the_set_lacks_are_looked_for_with_a_warning(docs):
    given = {**LABELS, "GARDEN": Label("garden")}
    with pytest.warns(UserWarning, match=r"W604.*: GARDEN\."):
        labels = complete_labels(docs, given)
    assert labels == {
        "Area": Label(),
        "GARDEN": Label("garden"),
        "P_1": Label("price"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        complete_labels(docs, LABELS)


def test_zero_and_one_example_in_one_report(conll, backbone, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text('{"P_1": {"name": "price"}}')
    metrics = tmp_path / "metrics"
    encoder = ["--backbones", backbone, "--names", "nuner"]
    invoke("zero-shot", conll, metrics / "zero", *encoder, "--labels", labels)
    output = invoke(
        *("fewshot", conll, conll, metrics / "probe", *encoder),
        *("--k", 1, "--draws", 2),
    )
    assert "k=1" in output
    invoke("report", metrics, tmp_path / "report", "--base", "nuner")
    report = (tmp_path / "report" / "report.md").read_text("utf8")
    assert "| nuner | 100.0 |" in report
    assert "k=0 | k=1" in report
    assert "| set | P_1 | price |" in report


def invoke(*args):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_function_of_the_command(conll, backbone, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text('{"P_1": {"name": "price"}}')
    settings = {"backbones": [backbone], "names": ["nuner"], "labels": labels}
    (cell,) = zero_shot(conll, tmp_path / "out", **settings)
    assert cell.scores["ents_f"] == 1.0 and cell.dataset == "set"
    (never,) = zero_shot(conll, tmp_path / "out", threshold=0.999999, **settings)
    assert never.scores["ents_f"] == 0.0


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_reported_sets_have_a_name_for_each_label(path, data, assets):
    folder = assets if path.stem == "listings" else data
    files = [*(folder / path.stem).glob("*.conll")]
    tags = {line.split()[-1] for f in files for line in f.open() if line.strip()}
    for file in (folder / path.stem).glob("*.jsonl"):
        spans = [span for line in file.open() for span in json.loads(line)["spans"]]
        tags |= {f"B-{span['label']}" for span in spans}
    found = {tag[2:] for tag in tags} - {""}
    named = set(read_labels(path))
    # Few-NERD's test file has other labels than its training files, by design.
    assert found == named if path.stem != "fewnerd-inter" else named < found
