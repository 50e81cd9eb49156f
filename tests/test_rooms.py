"""Data goes one way: a room imports nothing of a room that stands later."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT

PACKAGE = ROOT / "spacy_nuner"
TRAINING = {"annotate", "corpus", "stats", "pretrain", "fewshot", "labelling"}
TRAINING |= {"apply", "publish", "demo"}
# What a room must not know. `cli` may know all, and nothing knows `cli`.
FORBIDDEN = {
    "encoders": TRAINING | {"readers", "models", "pipeline", "cli"},
    "models": TRAINING | {"readers", "pipeline", "cli"},
    "pipeline": TRAINING | {"readers", "cli"},
    "readers": TRAINING | {"encoders", "models", "pipeline", "cli"},
    "annotate": (TRAINING - {"annotate"}) | {"encoders", "models", "pipeline", "cli"},
    "corpus": (TRAINING - {"corpus"}) | {"encoders", "models", "pipeline", "cli"},
    "stats": {"annotate", "pretrain", "models", "pipeline", "fewshot", "cli", "demo"},
    "pretrain": {"annotate", "stats", "models", "pipeline", "fewshot", "cli", "demo"},
    "fewshot": {"stats", "pretrain", "labelling", "cli", "demo"},
    "labelling": {"stats", "pretrain", "apply", "publish", "cli", "demo"},
    "demo": (TRAINING - {"demo"}) | {"readers", "cli"},
    "publish": (TRAINING - {"fewshot", "publish"}) | {"readers", "models", "cli"},
    "apply": TRAINING - {"apply"} | {"encoders", "models", "pipeline", "cli"},
}


def find_imports(path: Path) -> Iterator[str]:
    """Yield the rooms that a file imports from, at its top or inside a function."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else ()
            module = (*parent, *(node.module or "").split("."))
            if module[0] == PACKAGE.name and len(module) > 1:
                yield module[1]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_knows_no_later_one(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in files
        for other in find_imports(path)
        if other in FORBIDDEN[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_each_room_is_in_the_table():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(FORBIDDEN) | {"cli"}


def test_a_pipeline_loads_without_the_rooms_that_train():
    code = (
        "import spacy, sys\n"
        "nlp = spacy.blank('en')\n"
        "nlp.add_pipe('nuner_ner', config={'labels': ['person']})\n"
        "nlp.add_pipe('nuner_concepts', config={'labels': ['person']})\n"
        f"rooms = {sorted(TRAINING)}\n"
        "print([r for r in rooms if f'spacy_nuner.{r}' in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_the_command_line_is_there_before_spacy_and_torch():
    """Each command imports what it needs."""
    code = (
        "import sys\n"
        "import spacy_nuner.cli.app\n"
        "print({'spacy', 'torch', 'datasets'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "set()"


def test_no_module_name_occurs_twice():
    """But in `cli`, where a command has the name of what it calls."""
    names = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" and path.parent.name != "cli"
    ]
    assert sorted(names) == sorted(set(names))
