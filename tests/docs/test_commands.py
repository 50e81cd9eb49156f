"""Every command that the documentation names exists, with its arguments and options."""

import importlib.util
import sys
from typing import Any

import pytest
import srsly
import typer
from confection import Config
from spacy.cli._util import app as spacy_app

from spacy_nuner.cli.app import app

from ..conftest import ROOT
from .blocks import LANGUAGES, NEEDS, REVISIONS, read_pages, split_commands

# Of click, or of the copy that newer releases of typer bring.
ClickException: Any = typer.BadParameter.__mro__[2]

PROJECT = srsly.read_yaml(ROOT / "project.yml")
BLOCKS = [block for blocks in read_pages().values() for block in blocks]


def find_commands() -> dict[str, list[list[str]]]:
    """Page or command of the project -> what it calls."""
    found: dict[str, list[list[str]]] = {}
    for block in BLOCKS:
        if block.language != "python" and not REVISIONS & set(block.needs):
            page = found.setdefault(block.name.rpartition(":")[0], [])
            page += split_commands(block.script)
    for command in PROJECT["commands"]:
        lines = "\n".join(command["script"]).replace("${vars.ask}", "")
        for name, value in PROJECT["vars"].items():
            lines = lines.replace(f"${{vars.{name}}}", str(value))
        found[f"project.yml {command['name']}"] = split_commands(lines)
    return found


COMMANDS = find_commands()


def read_program(words: list[str]) -> tuple[str, list[str]]:
    """Tell what a command runs: a module, a file or a program; and its arguments."""
    words = list(words)
    while words and "=" in words[0] and not words[0].startswith("-"):
        del words[0]
    if words[:1] == ["torchrun"] or words[:2] == ["accelerate", "launch"]:
        words = words[words.index("-m") :] if "-m" in words else []
    elif words[:1] == ["python"]:
        del words[0]
    elif words:
        return words[0], words[1:]
    if words[:1] == ["-m"]:
        return f"-m {words[1]}", words[2:]
    return (words[0], words[1:]) if words else ("", [])


def parse(made_by: typer.Typer, arguments: list[str]) -> Any:
    """Parse a command line down to its command, without running it."""
    command: Any = typer.main.get_command(made_by)
    parent, name = None, command.name
    while True:
        context = command.make_context(name, list(arguments), parent=parent)
        if not hasattr(command, "commands"):
            return context
        # The first word of a group's arguments stands apart from the others.
        rest = [*getattr(context, "_protected_args", []), *context.args]
        name, command, arguments = command.resolve_command(context, rest)
        parent = context


def check_overrides(context: Any, arguments: list[str]) -> None:
    """Dotted options are settings of the config that the command names."""
    if not context.ignore_unknown_options or context.info_name == "run":
        return
    values = [str(value) for value in context.params.values()]
    files = [ROOT / v for v in values if v.endswith(".cfg") and (ROOT / v).exists()]
    for word in arguments:
        if word.startswith("--") and "." in word:
            assert files, f"{word}, but no config of this project is named"
            config: Any = Config().from_disk(files[0], interpolate=False)
            for key in word[2:].split("=")[0].split("."):
                assert key in config, f"{files[0].name} has no {word}"
                config = config[key]


def check_project(arguments: list[str]) -> None:
    """Commands and variables are those of the project."""
    names = {command["name"] for command in PROJECT["commands"]}
    assert arguments[0] in names | set(PROJECT["workflows"]), arguments
    for word in arguments:
        if word.startswith("--vars."):
            name = word.removeprefix("--vars.").split("=")[0]
            assert name in PROJECT["vars"], word
        # spaCy takes the dashes out of what is behind "=".
        assert "--" not in word.partition("=")[2], word


def load_app(name: str) -> typer.Typer:
    """Import a benchmark and take its command line."""
    spec = importlib.util.spec_from_file_location("benchmark", ROOT / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark"] = module
    spec.loader.exec_module(module)
    if hasattr(module, "app"):
        return module.app
    made = typer.Typer(add_completion=False)
    made.command()(module.main)
    return made


@pytest.mark.parametrize("page", COMMANDS)
def test_command_lines_parse(page):
    wrong = []
    for words in COMMANDS[page]:
        program, arguments = read_program(words)
        try:
            if "..." in arguments:
                continue
            if program in ("-m spacy_nuner", "spacy-nuner"):
                program, arguments = "-m spacy", ["nuner", *arguments]
            if program in ("-m spacy", "spacy"):
                ours = arguments[:1] == ["nuner"]
                context = (
                    parse(app, arguments[1:]) if ours else parse(spacy_app, arguments)
                )
                check_overrides(context, arguments)
                if arguments[:2] == ["project", "run"]:
                    check_project(arguments[2:])
            elif program.startswith("benchmarks/"):
                parse(load_app(program), arguments)
        except (ClickException, AssertionError, OSError) as error:
            # Of a file that spaCy's command reads and another command makes: it is
            # looked for when all options are known.
            if "does not exist" in str(error):
                continue
            wrong.append(f"{' '.join(words)}\n    {error}")
    assert not wrong, "\n".join(wrong)


def test_what_a_block_needs_is_one_of_the_known_reasons():
    for block in BLOCKS:
        assert set(block.needs) <= NEEDS | REVISIONS, block.name


def test_all_commands_are_in_the_documentation():
    named = {
        arguments[1]
        for commands in COMMANDS.values()
        for program, arguments in map(read_program, commands)
        if program == "-m spacy" and arguments[:1] == ["nuner"] and arguments[1:]
    }
    group: Any = typer.main.get_command(app)
    assert set(group.commands) <= named


def test_shell_sessions_are_cut_into_commands():
    text = (
        "```console\n$ for a in 1 2; do python -m spacy nuner draw \\\n    x.jsonl"
        " $a.spacy; done\nprinted\n$ echo 'a; b' > file && ls\n```\n"
    )
    from .blocks import read_blocks

    (block,) = read_blocks(f"<!-- needs: network, time -->\n{text}", "page")
    assert block.needs == ("network", "time") and block.language in LANGUAGES
    assert split_commands(block.script) == [
        ["for", "a", "in", "1", "2"][1:],
        ["python", "-m", "spacy", "nuner", "draw", "x.jsonl", "$a.spacy"],
        ["echo", "a; b"],
        ["ls"],
    ]
