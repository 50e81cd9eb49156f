"""A pipeline that needs no weights: cities with scores, and a word it can't take."""

import json
import sys

import pytest
import spacy

from spacy_nuner.apply.tag_corpus import tag_corpus
from spacy_nuner.apply.tagger import TagSettings, hash_pipeline

# Shipped beside the pipeline, as a component of the user's is in a package.
COMPONENT = """
from spacy.language import Language
from spacy.tokens import Span, SpanGroup


@Language.component("tests_cities")
def find_cities(doc):
    if "explode" in doc.text:
        raise ValueError("a word that nobody expects")
    cities = [token.i for token in doc if token.text in ("Porto", "Köln")]
    spans = [Span(doc, i, i + 1, "CITY") for i in cities]
    scores = [len(span.text) / 16 + 1 / 3 for span in spans]
    doc.spans["found"] = SpanGroup(doc, spans=spans, attrs={"scores": scores})
    doc.ents = spans
    doc.user_data["no type that can be saved"] = object()
    return doc
"""


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """The folder of the pipeline; its component is found by other processes too."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "tests_cities.py").write_text(COMPONENT, encoding="utf8")
    info = folder / "tests_cities-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tests-cities\n")
    points = "[spacy_factories]\ntests_cities = tests_cities:find_cities\n"
    (info / "entry_points.txt").write_text(points)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder))
        if not spacy.util.registry.factories.get_all().get("tests_cities"):
            __import__("tests_cities")
        nlp = spacy.blank("en")
        nlp.add_pipe("tests_cities")
        nlp.to_disk(folder / "nlp")
        yield folder / "nlp"
        sys.modules.pop("tests_cities", None)


@pytest.fixture
def tag(pipeline):
    """Tag a corpus in small parts."""

    def run(source, output, *, part_size=390, pipe=None, **more):
        names = ("form", "field", "id_field", "unit", "keep_text")
        given = {name: more.pop(name) for name in names if name in more}
        name = str(pipe or pipeline)
        settings = TagSettings(name, hash_pipeline(name), **given)
        return tag_corpus(
            settings, str(source), output, part_size=part_size, progress=False, **more
        ).report

    return run


def write_jsonl(path, rows):
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf8")
    return path


def make_rows(count):
    return [
        {"id": n, "text": f"Room {n} in Porto, not in Köln {n}."} for n in range(count)
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_jsonl(folder):
    lines = []
    for path in sorted(folder.glob("[0-9]*.jsonl")):
        lines += path.read_text(encoding="utf8").splitlines()
    return [json.loads(line) for line in lines]


def read_quarantine(folder):
    text = (folder / "_quarantine.jsonl").read_text(encoding="utf8")
    return [json.loads(line) for line in text.splitlines()]
