"""Labels known by their names alone, on a backbone that the test pre-trains."""

import json

import pytest
import spacy
from spacy.tokens import Doc, Span
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.compare import describe_backbones
from spacy_nuner.fewshot.results import read_cells
from spacy_nuner.fewshot.zero_shot import (
    LabelName,
    make_tagger,
    name_labels,
    read_names,
    run_zero,
)
from spacy_nuner.pipeline.decoding import THRESHOLD

from ..conftest import ROOT
from ..util import make_tiny_bert

LABELS = ROOT / "benchmarks" / "labels"

# As words so that one label is found by its name and the other needs one.
TEXTS = [
    ("Leyton costs 900", [(0, 1, "Area"), (2, 3, "P_1")]),
    ("900 for Hackney", [(0, 1, "P_1"), (2, 3, "Area")]),
]
NAMES = {"P_1": LabelName("price")}


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


def run(docs, backbone, output, **settings):
    described = describe_backbones([backbone], labels=["nuner"], layer_sets=["last"])
    labels = name_labels(docs, NAMES)
    settings = {"dataset": "flats", "data": {"test": "a"}, **settings}
    return run_zero(docs, described, labels, output=output, **settings)


def test_names_alone_find_entities(docs, backbone, tmp_path):
    (cell,) = run(docs, backbone, tmp_path)
    assert cell["k"] == 0 and cell["mentions"] == {}
    assert cell["ents_f"] == cell["macro_token_f"] == 1.0
    assert cell["settings"]["names"]["P_1"]["name"] == "price"
    assert read_cells(tmp_path) == [json.loads(json.dumps(cell))]
    assert (tmp_path / "flats/nuner/last/k0/draw0.json").is_file()


def test_without_its_name_a_label_says_nothing(docs, backbone, tmp_path):
    described = describe_backbones([backbone], labels=["nuner"], layer_sets=["last"])
    labels = name_labels(docs, {"P_1": LabelName("area"), "Area": LabelName("price")})
    (cell,) = run_zero(
        docs, described, labels, output=tmp_path, dataset="flats", data={}
    )
    assert cell["ents_f"] == 0.0


def test_the_threshold_is_a_setting(docs, backbone, tmp_path):
    (never,) = run(docs, backbone, tmp_path, threshold=0.999999)
    assert never["ents_f"] == 0.0
    assert never["settings"]["threshold"] == 0.999999
    # A cell of another threshold is made again, one of the same is not.
    (cell,) = run(docs, backbone, tmp_path)
    assert cell["ents_f"] == 1.0
    assert cell["settings"]["threshold"] == THRESHOLD
    assert run(docs, backbone, tmp_path) == [json.loads(json.dumps(cell))]


def test_scores_are_those_of_the_component(docs, backbone, tmp_path):
    nlp = make_tagger(backbone, name_labels(docs, NAMES), threshold=None)
    found = [[(e.text, e.label_) for e in nlp(doc.text).ents] for doc in docs]
    assert found == [[(e.text, e.label_) for e in doc.ents] for doc in docs]


def test_a_backbone_without_concept_encoder_is_refused(docs, tmp_path):
    tiny = make_tiny_bert(tmp_path / "tiny", [doc.text for doc in docs])
    with pytest.raises(NunerError, match="N625"):
        run(docs, str(tiny), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_are_read(tmp_path):
    path = tmp_path / "names.json"
    path.write_text(
        '{"A": "area", "B": {"name": "price", "description": "What a thing costs"}, '
        '"FLAT_SIZE": {"description": "How large"}}'
    )
    assert read_names(path) == {
        "A": LabelName("area"),
        "B": LabelName("price", "What a thing costs"),
        "FLAT_SIZE": LabelName("flat size", "How large"),
    }


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[1]", "holds a list"),
        ("{", "Expecting"),
        ('{"A": 3}', "'A' has 3"),
        ('{"A": ""}', "'A' has"),
        ('{"A": {"title": "x"}}', "title"),
        ('{"A": null}', "null"),
    ],
)
def test_names_that_are_none_are_told(tmp_path, content, found):
    path = tmp_path / "names.json"
    path.write_text(content)
    with pytest.raises(NunerError, match="N624") as caught:
        read_names(path)
    assert found in str(caught.value)
    with pytest.raises(NunerError, match="N005"):
        read_names(tmp_path / "none.json")


def test_zero_and_one_example_in_one_report(conll, backbone, tmp_path):
    names = tmp_path / "names.json"
    names.write_text('{"P_1": "price"}')
    output = tmp_path / "metrics"
    arguments = ["fewshot", conll, conll, "--backbones", backbone, "--names", "nuner"]
    arguments += ["--k", "0,1", "--draws", 2, "--label-names", names]
    arguments += ["--output", output / "probe"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert "k=0" in result.output
    arguments = ["report", output, tmp_path / "report", "--base", "nuner"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    report = (tmp_path / "report" / "report.md").read_text("utf8")
    assert "| nuner | 100.0 |" in report
    assert "| set | P_1 | price |" in report


@pytest.mark.parametrize("path", sorted(LABELS.glob("*.json")), ids=lambda p: p.stem)
def test_reported_sets_have_a_name_for_each_label(path, data, assets):
    folder = assets if path.stem == "listings" else data
    files = [*(folder / path.stem).glob("*.conll")]
    tags = {line.split()[-1] for f in files for line in f.open() if line.strip()}
    for file in (folder / path.stem).glob("*.jsonl"):
        spans = [span for line in file.open() for span in json.loads(line)["spans"]]
        tags |= {f"B-{span['label']}" for span in spans}
    found = {tag[2:] for tag in tags} - {""}
    named = set(read_names(path))
    # Few-NERD's test file has other labels than its training files, by design.
    assert found == named if path.stem != "fewnerd-inter" else named < found
