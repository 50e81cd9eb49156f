"""The room needs no model code, and its modules no package of an extra."""

import subprocess
import sys
from pathlib import Path

import spacy_nuner.annotate

CODE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
heavy = ["torch", "spacy", "transformers", "openai", "aiohttp", "datasets", "filelock"]
print([name for name in heavy if name in sys.modules])
"""


def test_annotate_imports_no_torch():
    folder = Path(spacy_nuner.annotate.__file__).parent
    names = [
        f"spacy_nuner.annotate.{path.stem}"
        for path in sorted(folder.glob("*.py"))
        if path.stem != "__init__"
    ]
    assert len(names) >= 6
    names += [f"spacy_nuner.cli.{name}" for name in ("annotate", "sample", "export")]
    ran = subprocess.run(
        [sys.executable, "-c", CODE, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "[]\n", ran.stderr
