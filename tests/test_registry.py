"""Every public name is found without an import of the package, as spaCy finds it."""

import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.util import registry

import spacy_nuner
from spacy_nuner.cli.app import app

NAMES = {
    "architectures": [
        "spacy_nuner.Backbone.v1",
        "spacy_nuner.BackboneListener.v1",
        "spacy_nuner.Tok2VecBackbone.v1",
        "spacy_nuner.ConceptTagger.v1",
        "spacy_nuner.EntityTagger.v1",
    ],
    "scorers": ["spacy_nuner.concepts_scorer.v1"],
    "tokenizers": ["spacy_nuner.MultilingualTokenizer.v1"],
    "misc": [
        "spacy_nuner.SigmoidCrossEntropy.v1",
        "spacy_nuner.SigmoidSoftmaxCrossEntropy.v1",
    ],
    "factories": ["nuner_concepts", "nuner_ner"],
}


@pytest.mark.parametrize(
    "kind,name", [(kind, name) for kind, names in NAMES.items() for name in names]
)
def test_names(kind, name):
    if kind == "factories":
        nlp = spacy.blank("en")
        # Made without the backbone, which is read when it is first needed.
        assert nlp.add_pipe(name).labels == ()
        assert nlp.get_pipe(name).backbone == "default"
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


def test_the_commands_are_those_of_their_files():
    folder = Path(spacy_nuner.__file__).parent / "cli"
    files = {path.stem.strip("_") for path in folder.glob("*.py")}
    shared = {"init", "app", "plugin", "losses", "util", "pipeline", "asking"}
    known = {info.name.replace("-", "_") for info in app.registered_commands}
    assert known | shared == files | ({"init"} & known) and known


@pytest.mark.parametrize("module", [["spacy", "nuner"], ["spacy_nuner"]])
def test_both_command_lines_have_the_commands(module):
    """Each command is there: it prints its own help, and an unknown one is an error."""
    code = (
        f"from {'spacy.cli' if module[0] == 'spacy' else 'spacy_nuner.cli.app'} "
        "import app\n"
        "import spacy.util, spacy_nuner.cli.app as ours\n"
        # What `python -m spacy` does first.
        "spacy.util.registry.cli.get_all()\n"
        "from typer.testing import CliRunner\n"
        f"before = {module[1:]!r}\n"
        "names = [info.name for info in ours.app.registered_commands]\n"
        "for name in [*names, 'no-such-command']:\n"
        "    result = CliRunner().invoke(app, [*before, name, '--help'])\n"
        "    print(name, result.exit_code)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    codes = dict(line.split() for line in out.stdout.splitlines())
    assert codes.pop("no-such-command") == "2"
    assert set(codes) == {info.name for info in app.registered_commands}
    assert set(codes.values()) == {"0"}
    # And the entry point for people.
    subprocess.run(
        [sys.executable, "-m", *module, "convert", "--help"],
        capture_output=True,
        check=True,
    )
