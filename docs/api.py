"""The text of docs/api.md, read from the registered functions and the commands."""

import ast
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from typing import Any, NamedTuple

from spacy.language import Language
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Reference

<!-- Written by `python docs/generate.py`: change the docstrings instead. -->
"""
# Entry points and how their section is called.
GROUPS = {
    "spacy_architectures": ("Architectures", "@architectures"),
    "spacy_layers": ("Layers", "@layers"),
    "spacy_scorers": ("Scorers", "@scorers"),
    "spacy_tokenizers": ("Tokenizers", "@tokenizers"),
    "spacy_callbacks": ("Callbacks", "@callbacks"),
    "spacy_misc": ("Objectives of pre-training", "@misc"),
}
# What a file holds: its title, what to say of it, and what describes its keys.
FORMATS = [
    (
        "Records (JSON Lines)",
        "A line for each sentence or passage: `id`, `text`, and either `answer`, the "
        "raw answer of an LLM (a line `entity <> concept <> description` for each "
        "entity), or `entities`, a list of objects with",
        "spacy_nuner.readers.records:Entity",
    ),
    (
        "Corpus (DocBin shards)",
        "A folder of `.spacy` files for `pretrain` and `stats`, a doc a sentence or "
        'passage. `doc.spans["concepts"]` holds the spans; they may overlap, '
        "`span.label_` is the cleaned name of the concept, and "
        '`doc.spans["concepts"].attrs["descriptions"]` maps concepts to descriptions. '
        "`report.json` has the settings and what became of every record and "
        "annotation, `quarantine.jsonl` what could not be used, with file, line and "
        "reason. Labelled sets (`import`, `draw`) are one `.spacy` file with their "
        "labels in `doc.ents`, as far as they do not overlap, and in `doc.spans`.",
        None,
    ),
    (
        "Labels (JSON)",
        "An object: label -> description, or label -> object with `name` (the words "
        "that go into the concept encoder instead of the label) and `description`; or "
        "a list of labels. The same forms as the setting `labels`.",
        None,
    ),
    (
        "Backbone folder",
        "The text encoder as a Hugging Face folder (`config.json`, "
        "`model.safetensors`, tokenizer), which `AutoModel.from_pretrained` loads; "
        "`concept_encoder/`, the same form, with `background.safetensors`, vectors of "
        "ordinary text; `README.md`, the model card; and `nuner.json`:",
        "spacy_nuner.encoders.folder:BackboneInfo",
    ),
    (
        "Store of answers (SQLite)",
        "What `annotate` writes and `export` reads.",
        "spacy_nuner.annotate.store:SCHEMA",
    ),
]


class Argument(NamedTuple):
    """What a docstring says of an argument.

    type (str): Its type.
    text (str): What it is.
    """

    type: str
    text: str


class Described(NamedTuple):
    """A docstring in its parts.

    text (str): What comes before the arguments.
    arguments (dict[str, Argument]): By name, "RETURNS" among them.
    others (str): What is said of all other arguments.
    """

    text: str
    arguments: dict[str, Argument]
    others: str


def read_docstring(docstring: str | None) -> Described:
    """Cut a docstring of the house's form into its parts."""
    text: list[str] = []
    arguments: dict[str, Argument] = {}
    current = others = ""
    for line in inspect.cleandoc(docstring or "").splitlines():
        found = re.match(r"(\w+) \((.+?)\): (.*)", line)
        if rest := re.match(r"(?:\w+ and )?all others: (.*)", line):
            others = rest[1]
        elif found:
            current = found[1]
            arguments[current] = Argument(found[2], found[3])
        elif current and line.startswith("    "):
            before = arguments[current]
            arguments[current] = before._replace(text=f"{before.text} {line.strip()}")
        else:
            current = ""
            text.append(line)
    return Described("\n".join(text).strip(), arguments, others)


def write_api() -> str:
    """Write the page."""
    found = [entry for entry in distribution("spacy-nuner").entry_points]
    parts = [HEADER, *write_factories(found)]
    for group, (title, key) in GROUPS.items():
        entries = [entry for entry in found if entry.group == group]
        if entries:
            parts.append(f"## {title}\n\nIn a config: `{key}`.\n")
        for entry in sorted(entries, key=lambda entry: entry.name):
            parts.append(write_function(entry.name, entry.load()))
    parts += write_pretrain_config()
    parts += write_commands()
    parts += write_formats()
    return "\n".join(part.rstrip() + "\n" for part in parts)


def write_factories(found: list[EntryPoint]) -> Iterator[str]:
    """The components, with the defaults of their settings."""
    yield "## Components\n"
    for entry in found:
        if entry.group == "spacy_factories":
            function = entry.load()
            defaults = Language.get_factory_meta(entry.name).default_config or {}
            yield write_function(entry.name, function, defaults)
            model = defaults.get("model", {})
            if "@architectures" in model:
                yield f"The default of `model` is `{model['@architectures']}`.\n"


def write_function(
    name: str, function: Callable[..., Any], defaults: dict[str, Any] | None = None
) -> str:
    """A registered function: what it makes, and its arguments."""
    described = read_docstring(function.__doc__)
    lines = [f"### {name}", "", described.text, ""]
    rows = []
    for key, parameter in inspect.signature(function).parameters.items():
        if defaults is not None and key in ("nlp", "name", "model"):
            continue
        default = parameter.default
        if defaults is not None:
            default = defaults.get(key, default)
        of = described.arguments.get(key)
        of = of or Argument(write_type(parameter.annotation), described.others)
        rows.append([f"`{key}`", f"`{of.type}`", write_default(default), of.text])
    if rows:
        lines += write_table(["setting", "type", "default", "meaning"], rows)
    if "RETURNS" in described.arguments:
        made = described.arguments["RETURNS"]
        text = f"Gives `{made.type}`: {made.text[:1].lower()}{made.text[1:]}"
        lines += ["", *textwrap.wrap(text, 88)]
    return "\n".join(lines) + "\n"


def write_pretrain_config() -> Iterator[str]:
    """The settings of configs/pretrain.cfg with its comments."""
    yield "## Settings of pretrain.cfg\n"
    rows, comment, section = [], [], ""
    for line in (ROOT / "configs" / "pretrain.cfg").read_text("utf8").splitlines():
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif line.startswith("["):
            section = line.strip("[]")
            comment = []
        elif "=" in line and section:
            key, _, value = (part.strip() for part in line.partition("="))
            rows.append([f"`{section}.{key}`", f"`{value}`", " ".join(comment)])
            comment = []
    yield "\n".join(write_table(["setting", "default", "meaning"], rows)) + "\n"


def write_commands() -> Iterator[str]:
    """The commands with their arguments and options."""
    from spacy_nuner.cli.app import app

    yield "## Commands\n"
    yield "`python -m spacy nuner ...`; `python -m spacy_nuner ...` is the same.\n"
    for command in sorted(app.registered_commands, key=lambda x: x.name or ""):
        function: Any = command.callback
        arguments, options = [], []
        for key, parameter in inspect.signature(function).parameters.items():
            info = find_info(parameter)
            if isinstance(info, ArgumentInfo):
                arguments.append((key, info, parameter))
            elif isinstance(info, OptionInfo) and not info.hidden:
                options.append((key, info, parameter))
        names = [
            info.metavar or key.upper() if is_required(info) else f"[{key.upper()}]"
            for key, info, _ in arguments
        ]
        lines = [
            f"### {command.name}",
            "",
            " ".join(["`" + (command.name or ""), *names]),
        ]
        lines[-1] += " [OPTIONS]`" if options else "`"
        lines += ["", read_docstring(function.__doc__).text, ""]
        rows = [
            [f"`{info.metavar or key.upper()}`", "", write_help(info)]
            for key, info, _ in arguments
        ]
        for key, info, parameter in options:
            flags = info.param_decls or [f"--{key.replace('_', '-')}"]
            default = "required" if is_required(info) else write_default(info.default)
            # A string where a module has its annotations postponed.
            if parameter.annotation not in (bool, "bool"):
                kind = write_type(parameter.annotation)
                flags = [
                    f"{flag} {kind.removesuffix(' | None').upper()}" for flag in flags
                ]
            words = ", ".join(f"`{flag}`" for flag in flags)
            rows.append([words, default, write_help(info)])
        lines += write_table(["argument", "default", "meaning"], rows)
        yield "\n".join(lines) + "\n"


def find_info(parameter: inspect.Parameter) -> ParameterInfo | None:
    """What typer knows of a parameter, which stands in its default or its type."""
    candidates = [parameter.default, *getattr(parameter.annotation, "__metadata__", [])]
    return next((one for one in candidates if isinstance(one, ParameterInfo)), None)


def is_required(info: ParameterInfo) -> bool:
    """Whether a command can't do without it."""
    return info.default is ...


def write_help(info: ParameterInfo) -> str:
    """What an argument is, in a line."""
    limits = [
        f"{words} {limit:g}"
        for words, limit in (("at least", info.min), ("at most", info.max))
        if limit is not None
    ]
    return " ".join(
        [*(info.help or "").split(), *([f"({', '.join(limits)})"] * bool(limits))]
    )


def write_formats() -> Iterator[str]:
    """What is in the files."""
    yield "## Files\n"
    for title, text, source in FORMATS:
        lines = [f"### {title}", "", *textwrap.wrap(text, 88), ""]
        if source is not None:
            module, _, name = source.partition(":")
            thing = getattr(importlib.import_module(module), name)
            if isinstance(thing, str):
                lines += write_table(["table", "columns"], read_schema(thing))
            else:
                rows = [
                    [f"`{key}`", f"`{of.type}`", of.text]
                    for key, of in read_fields(thing).items()
                ]
                lines += write_table(["key", "type", "meaning"], rows)
        yield "\n".join(lines) + "\n"


def read_fields(cls: type) -> dict[str, Argument]:
    """The fields of a data class, from its docstring or from those below them."""
    described = read_docstring(cls.__doc__).arguments
    if described:
        return described
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    fields: dict[str, Argument] = {}
    key = ""
    for node in getattr(body, "body", []):
        if isinstance(node, ast.AnnAssign):
            key = ast.unparse(node.target)
            fields[key] = Argument(ast.unparse(node.annotation), "")
        elif (
            key and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            text = " ".join(str(node.value.value).split())
            fields[key] = fields[key]._replace(text=text)
            key = ""
    return fields


def read_schema(schema: str) -> list[list[str]]:
    """Tables and their columns."""
    schema = re.sub(r"--.*", "", schema)
    rows = []
    for found in re.finditer(
        r"CREATE TABLE (\w+) \((.*?)\)(?: WITHOUT ROWID)?;", schema, re.S
    ):
        parts = re.split(r",(?![^(]*\))", found[2])
        columns = [part.split()[0] for part in parts]
        shown = ", ".join(f"`{c}`" for c in columns if c not in ("UNIQUE", "PRIMARY"))
        rows.append([f"`{found[1]}`", shown])
    return rows


def write_default(value: Any) -> str:
    """A default as it would stand in a config."""
    if value is inspect.Parameter.empty or value is ...:
        return "required"
    if value is None:
        return "`null`"
    if isinstance(value, str) and value == "":
        return '`""`'
    try:
        return f"`{json.dumps(value)}`"
    except TypeError:
        return f"`{value}`"


def write_type(annotation: Any) -> str:
    """The name of a type, without its module."""
    metadata = getattr(annotation, "__metadata__", None)
    if metadata is not None:
        annotation = annotation.__origin__
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, type) and not getattr(annotation, "__args__", None):
        return annotation.__name__
    return re.sub(r"\b[\w.]+\.(\w+)", r"\1", str(annotation))


def write_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown; empty columns are left out."""
    keep = [i for i in range(len(header)) if any(row[i] for row in rows)]
    lines = [
        [header[i] for i in keep],
        ["---"] * len(keep),
        *(
            [row[i].replace("|", "\\|").replace("\n", " ") for i in keep]
            for row in rows
        ),
    ]
    return [f"| {' | '.join(line)} |" for line in lines]
