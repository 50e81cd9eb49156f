"""What `pip install spacy-nuner` brings is whole, and enough to begin with."""

import json
import shutil
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from .conftest import ROOT
from .environment import make_environment, run
from .test_registry import NAMES
from .util import make_tiny_bert

pytestmark = pytest.mark.slow


pytest.importorskip("build")

SHIPPED = ("configs", "assets", "project.yml")
ANSWERS = [
    ("Ana Lima lives in Lisbon", "Ana Lima <> person\nLisbon <> city"),
    ("Porto is far from Lisbon", "Porto <> city\nLisbon <> city"),
    ("did Ben Okoro call Ana Lima ?", "Ben Okoro <> person\nAna Lima <> person"),
    ("Ben Okoro left Porto", "Ben Okoro <> person\nPorto <> city"),
] * 4
TEXT = "Ana Lima left Porto"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what of the checkout goes into an installation."""
    source = tmp_path_factory.mktemp("checkout") / "source"
    for name in ("spacy_nuner", *SHIPPED):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return source


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    """The wheel, made of an sdist that was made of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", folder, source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Python of an environment that the wheel is installed in."""
    python = make_environment(tmp_path_factory.mktemp("environment") / "env")
    # With its requirements, which must be met by what stands here.
    install = ("pip", "--python", python, "install", "--no-index", "--quiet", wheel)
    run(sys.executable, "-m", *install)
    return python


def test_the_wheel_has_the_names_and_the_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        (table,) = (name for name in files if name.endswith("/entry_points.txt"))
        entry_points = ConfigParser()
        # Names of registered functions are told apart by case.
        entry_points.optionxform = str
        entry_points.read_string(archive.read(table).decode())
    for group, names in NAMES.items():
        assert sorted(entry_points[f"spacy_{group}"]) == sorted(names)
    expected = {
        f"spacy_nuner/{path.relative_to(root).as_posix()}"
        for root, folder in (
            (ROOT / "spacy_nuner", ROOT / "spacy_nuner"),
            *((ROOT, ROOT / name) for name in SHIPPED),
        )
        for path in (folder.rglob("*") if folder.is_dir() else [folder])
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in files if name.startswith("spacy_nuner/")} == expected


@pytest.mark.weekly
def test_an_editable_installation_has_the_files_of_the_checkout(source, tmp_path):
    python = make_environment(tmp_path / "env")
    install = (
        "pip",
        "--python",
        python,
        "install",
        "--no-build-isolation",
        "--no-deps",
    )
    run(sys.executable, "-m", *install, "--quiet", "--editable", source)
    run(python, "-m", "spacy", "nuner", "init", "new", "--project", cwd=tmp_path)
    for name in ("project.yml", "configs/ner.cfg", "assets/listings/dev.jsonl"):
        assert (tmp_path / "new" / name).read_bytes() == (source / name).read_bytes()
    code = "from spacy_nuner.files import find_shipped; print(find_shipped('configs'))"
    assert run(python, "-c", code, cwd=tmp_path).strip() == str(source / "configs")


@pytest.mark.weekly
def test_tests_pass_on_the_wheel_from_another_folder(python, tmp_path):
    """Those that need nothing of the checkout: there is none beside them."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=ignored)
    modules = ("test_registry", "test_masking", "encoders.test_folder")
    modules += ("pipeline.test_decoding", "publish.test_private")
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "--pyargs"]
    out = run(*command, *(f"tests.{name}" for name in modules), cwd=tmp_path)
    assert " passed" in out and "failed" not in out
    code = "import spacy_nuner; print(spacy_nuner.__file__)"
    assert str(python.parents[1]) in run(python, "-c", code, cwd=tmp_path)


@pytest.mark.weekly
def test_from_the_wheel_alone_to_spans_and_a_training(python, tmp_path):
    folder = tmp_path / "a user"
    folder.mkdir()
    environment = {"SPACY_NUNER_HOME": str(tmp_path / "home")}
    texts = [part for row in ANSWERS for part in row]
    base = make_tiny_bert(tmp_path / "base", texts)
    with (folder / "answers.jsonl").open("w") as file:
        for i, (text, answer) in enumerate(ANSWERS):
            row = {"id": str(i), "text": text, "answer": answer}
            file.write(json.dumps(row) + "\n")
    settings = {
        "features.max_length": 64,
        "features.max_concept_length": 16,
        "model.frozen_layers": 0,
        "training.epochs": 40,
        "training.batch_size": 4,
        "training.learn_rate": 0.01,
    }

    def run_code(code):
        return run(python, "-c", code, cwd=folder, **environment)

    tag = (
        "import spacy\n"
        "nlp = spacy.blank('en')\n"
        "nlp.add_pipe('nuner_concepts', config={'labels': ['person', 'city']})\n"
        "try:\n"
        f"    doc = nlp({TEXT!r})\n"
        "    print([(s.text, s.label_) for s in doc.spans['concepts']])\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    # Not built yet.
    assert "[N012]" in run_code(tag)
    run_code(
        "from pathlib import Path\n"
        "import spacy_nuner\n"
        # The installed one.
        f"assert {str(python.parents[1])!r} in spacy_nuner.__file__\n"
        "from spacy_nuner.cli.build import build_default\n"
        f"build_default(base={str(base)!r}, annotations=Path('answers.jsonl'),\n"
        f"    settings={settings!r})\n"
    )
    out = run(python, "-m", "spacy", "nuner", "build", cwd=folder, **environment)
    assert "there already" in out
    found = run_code(tag)
    assert found.strip() == str([("Ana Lima", "person"), ("Porto", "city")])
    spacy = (python, "-m", "spacy")
    out = run(*spacy, "nuner", "init", ".", "--head", "concepts", cwd=folder)
    assert "python -m spacy train configs/concepts.cfg --output training" in out
    run(*spacy, "nuner", "convert", "answers.jsonl", "corpus", cwd=folder)
    (shard,) = (folder / "corpus").glob("*.spacy")
    run(
        *(*spacy, "train", "configs/concepts.cfg", "--output", "training"),
        *("--paths.train", shard, "--paths.dev", shard, "--training.max_steps", 20),
        cwd=folder,
        **environment,
    )
    assert (folder / "training" / "model-best" / "config.cfg").is_file()
