"""Every public name is found without an import of the package, as spaCy finds it."""

import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser

import pytest
import spacy
from spacy.util import registry
from typer.main import get_command

from spacy_nuner.cli.app import app

from .conftest import ROOT

NAMES = {
    "architectures": [
        "spacy_nuner.Backbone.v1",
        "spacy_nuner.BackboneListener.v1",
        "spacy_nuner.Tok2VecBackbone.v1",
        "spacy_nuner.ConceptTagger.v1",
    ],
    "scorers": ["spacy_nuner.concepts_scorer.v1"],
    "callbacks": ["spacy_nuner.whole_config.v1"],
    "tokenizers": ["spacy_nuner.MultilingualTokenizer.v1"],
    "misc": [
        "spacy_nuner.SigmoidCrossEntropy.v1",
        "spacy_nuner.SigmoidSoftmaxCrossEntropy.v1",
    ],
    "factories": ["nuner_concepts"],
}


@pytest.mark.parametrize(
    "kind,name", [(kind, name) for kind, names in NAMES.items() for name in names]
)
def test_names(kind, name):
    if kind == "factories":
        assert spacy.blank("en").has_factory(name)
    else:
        assert callable(registry.get(kind, name))


def test_entry_points_are_those_named_here():
    from importlib.metadata import distribution

    found: dict[str, list[str]] = {}
    for entry in distribution("spacy-nuner").entry_points:
        group = entry.group.removeprefix("spacy_")
        if group in NAMES:
            found.setdefault(group, []).append(entry.name)
    assert {k: sorted(v) for k, v in found.items()} == {
        k: sorted(v) for k, v in NAMES.items()
    }


def test_import_is_light():
    heavy = ["torch", "transformers", "openai", "matplotlib", "sklearn", "datasets"]
    code = f"import spacy_nuner, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("module", [["spacy", "nuner"], ["spacy_nuner"]])
def test_both_command_lines_have_the_commands(module):
    out = subprocess.run(
        [sys.executable, "-m", *module, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    # All of them, at the start of a line of the table, whatever frame is around it.
    for command in get_command(app).commands:
        assert re.search(rf"^\W*{command}\s", out.stdout, re.MULTILINE), command


def test_the_wheel_has_the_names_and_the_data(tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "spacy_nuner", source / "spacy_nuner", ignore=ignored)
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-q", "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        (table,) = (name for name in files if name.endswith("/entry_points.txt"))
        entry_points = ConfigParser()
        # Names of registered functions are told apart by case.
        entry_points.optionxform = str
        entry_points.read_string(archive.read(table).decode())
    for group, names in NAMES.items():
        assert sorted(entry_points[f"spacy_{group}"]) == sorted(names)
    package = ROOT / "spacy_nuner"
    expected = {
        f"spacy_nuner/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in files if name.startswith("spacy_nuner/")} == expected
