"""The project file and the configs are whole; `.ci/run` runs them."""

import hashlib
import re
import shlex
import subprocess
import sys

import pytest
import srsly
from spacy.cli.debug_config import debug_config
from spacy.cli.init_config import fill_config
from spacy.util import load_config
from weasel.util.config import load_project_config, parse_config_overrides

from .conftest import ROOT

pytestmark = pytest.mark.slow


PROJECT = srsly.read_yaml(ROOT / "project.yml")
COMMANDS = {command["name"]: command for command in PROJECT["commands"]}


def test_commands_name_what_they_read_and_write():
    for name in PROJECT["workflows"]["all"]:
        command = COMMANDS[name]
        assert command["help"] and command["deps"] and command["outputs"]


@pytest.mark.parametrize("workflow", PROJECT["workflows"])
def test_each_step_reads_what_an_earlier_one_wrote(workflow):
    made = (
        "corpus",
        "training",
        "metrics",
        "report",
        "${vars.annotation}",
        "${vars.hub}",
    )
    # The store is no output of `ask`, which would keep it from going on.
    written = {"${vars.annotation}/store.sqlite"}
    for name in PROJECT["workflows"][workflow]:
        for dep in COMMANDS[name].get("deps", []):
            assert dep.split("/")[0] not in made or dep in written, (name, dep)
        written.update(COMMANDS[name].get("outputs", []))


def test_each_name_is_one_after_the_variables_are_filled_in():
    """Two variables in a row would become one entry, a path that nobody has."""
    for command in load_project_config(ROOT)["commands"]:
        paths = COMMANDS[command["name"]]
        for key in ("deps", "outputs"):
            assert len(command.get(key, [])) == len(paths.get(key, [])), command["name"]


def test_clean_removes_what_all_made_and_nothing_else(tmp_path):
    made = [
        out for name in PROJECT["workflows"]["all"] for out in COMMANDS[name]["outputs"]
    ]
    mine = [
        "corpus/mine/00000.spacy",
        "training/concepts/model-best/cfg",
        "metrics/mine/a",
        "metrics/heads/mine.json",
    ]
    files = [out if "." in out else f"{out}/file" for out in made]
    for name in [*files, *mine]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for line in COMMANDS["clean"]["script"]:
        program, *arguments = shlex.split(line)
        assert program == "python"
        subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == set(mine)


def test_assets_are_the_ones_with_these_checksums():
    listed = {asset["dest"]: asset["checksum"] for asset in PROJECT["assets"]}
    files = sorted((ROOT / "assets").glob("*/*.jsonl"))
    assert sorted(listed) == [str(path.relative_to(ROOT)) for path in files]
    for path in files:
        found = hashlib.md5(path.read_bytes()).hexdigest()
        assert listed[str(path.relative_to(ROOT))] == found


def test_vars_that_are_used_are_defined():
    text = (ROOT / "project.yml").read_text("utf8")
    used = {part.split("}")[0] for part in text.split("${vars.")[1:]}
    assert used == set(PROJECT["vars"])


@pytest.mark.parametrize("name", ["ner", "ner_frozen", "ner_parser", "concepts"])
def test_configs_pass_debug_config_and_are_filled(name, tmp_path):
    path = ROOT / "configs" / f"{name}.cfg"
    debug_config(path, overrides={"paths.train": "a.spacy", "paths.dev": "b.spacy"})
    fill_config(tmp_path / "filled.cfg", path, silent=True)
    filled = load_config(tmp_path / "filled.cfg")
    # spaCy adds this section, empty, to any config.
    filled.pop("pretraining")
    assert load_config(path) == filled


@pytest.mark.parametrize("name", ["ask", "settings"])
def test_options_given_as_the_comments_say_keep_their_dashes(name, tmp_path):
    text = (ROOT / "project.yml").read_text("utf8")
    # It makes the folders that the project names.
    (tmp_path / "project.yml").write_text(text, "utf8")
    (example,) = re.findall(rf'--vars\.{name} "([^"]+)"', text)
    words = [f"--vars.{name}", example]
    config = load_project_config(tmp_path, overrides=parse_config_overrides(words))
    lines = [line for command in config["commands"] for line in command["script"]]
    # Twice in the command that shows an estimate first.
    found = [line for line in lines if f" {example.strip()}" in line]
    assert len(found) == {"ask": 1, "settings": 2}[name]
