"""The entry for spaCy Universe has the fields that it reads, and its code runs."""

import json

import pytest

from spacy_nuner.about import __version__

from ..conftest import ROOT
from ..util import make_tiny_backbone

ENTRY = json.loads((ROOT / "docs" / "universe.json").read_text("utf8"))
# Of website/UNIVERSE.md in explosion/spaCy, and the projects of its categories.
FIELDS = {
    **dict.fromkeys(("id", "title", "slogan", "description", "github", "pip"), str),
    **dict.fromkeys(("cran", "code_language", "url", "thumb", "image", "author"), str),
    **dict.fromkeys(("code_example", "category", "tags"), list),
    "author_links": dict,
}
CATEGORIES = {
    *("pipeline", "training", "conversational", "research", "scientific"),
    *("visualizers", "apis", "nonpython", "standalone", "models"),
}


def test_fields():
    assert set(ENTRY) <= set(FIELDS)
    for name, value in ENTRY.items():
        assert isinstance(value, FIELDS[name]) and value, name
        lines = value if isinstance(value, list) else []
        assert all(isinstance(line, str) for line in lines), name
    assert {"id", "slogan", "description", "category", "pip", "author"} <= set(ENTRY)
    assert set(ENTRY["category"]) <= CATEGORIES
    # Each line of the code is one of its own.
    assert not any("\n" in line for line in ENTRY["code_example"])


def test_it_is_this_package():
    from importlib.metadata import metadata

    found = metadata("spacy-nuner")
    assert ENTRY["pip"] == found["Name"] and found["Version"] == __version__


@pytest.mark.slow
def test_its_code_runs(tmp_path, monkeypatch, capsys):
    from spacy_nuner.encoders import default

    backbone = make_tiny_backbone(tmp_path, ["Ana Lima left Porto.", "person, city"])
    monkeypatch.setattr(default, "find_default", lambda: backbone)
    exec(compile("\n".join(ENTRY["code_example"]), "universe.json", "exec"), {})
    assert capsys.readouterr().out.startswith("[")
