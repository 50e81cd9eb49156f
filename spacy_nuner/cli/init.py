"""`spacy nuner init`: the configs, or the whole project, that ship with the package."""

import os
import shlex
import shutil
from collections.abc import Iterable
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

import typer

from ..errors import Errors, NunerError
from ..files import find_shipped
from ..outputs import check_output, claimed
from ..printing import printable
from ._util import msg

PRETRAIN = "configs/pretrain.cfg"
PROJECT = ("project.yml", "configs", "assets")


class Head(StrEnum):
    """What is trained on a backbone."""

    ner = "ner"
    frozen = "frozen"
    concepts = "concepts"
    parser = "parser"


CONFIGS = {
    Head.ner: "configs/ner.cfg",
    Head.frozen: "configs/ner_frozen.cfg",
    Head.concepts: "configs/concepts.cfg",
    Head.parser: "configs/ner_parser.cfg",
}


def init_cli(
    folder: Path = typer.Argument(
        ..., help="Folder to write to; nothing in it is overwritten", show_default=False
    ),
    head: Head = typer.Option(
        Head.ner,
        help="Entities with the backbone tuned (ner) or as it is (frozen), concepts "
        "that may overlap, or spaCy's transition-based parser of entities",
    ),
    project: bool = typer.Option(
        False, "--project", help="Write the whole project: project.yml, configs, assets"
    ),
) -> None:
    """Write the configs to train a head and to pre-train a backbone."""
    from ..encoders.default import get_default_path

    files = write_project(folder) if project else write_configs(folder, head)
    msg.good(f"Files in {folder}: {len(files)}. What to run next:")
    python = "python -m spacy"
    if project:
        commands = [f"{python} project run all {shlex.quote(str(folder))}"]
        if not (find_spec("sklearn") and find_spec("matplotlib")):
            commands.insert(0, "pip install 'spacy-nuner[fewshot]'")
    else:
        config = shlex.quote(str(folder / CONFIGS[head]))
        output = shlex.quote(str(folder / "training" / "mine"))
        commands = [
            f"{python} train {config} --output {output} "
            "--paths.train train.spacy --paths.dev dev.spacy"
        ]
        if not get_default_path().is_dir():
            commands.insert(0, f"{python} nuner build")
    # Not `msg.text`, which breaks lines: these are to be copied.
    typer.echo("\n".join(map(printable, commands)))


def write_configs(folder: Path, head: Head | str = Head.ner) -> list[Path]:
    """Write the config of a head and that of pre-training into `configs/`.

    folder (Path): Where to.
    head (str): "ner", "frozen", "concepts" or "parser".
    RETURNS (list[Path]): The files.
    RAISES (NunerError): N016 if another file is in the way, N003 if it can't be
        written.
    """
    return _write(folder, [CONFIGS[Head(head)], PRETRAIN])


def write_project(folder: Path) -> list[Path]:
    """Write the whole project: project.yml, all configs, and assets.

    folder (Path): Where to.
    RETURNS (list[Path]): The files.
    RAISES (NunerError): As `write_configs`.
    """
    return _write(folder, PROJECT)


def _write(folder: Path, names: Iterable[str]) -> list[Path]:
    """Copy what ships with the package; the same content may be there already."""
    sources: dict[Path, Path] = {}
    for name in names:
        shipped = find_shipped(name)
        files = sorted(shipped.rglob("*")) if shipped.is_dir() else [shipped]
        for path in files:
            if path.is_file():
                sources[folder / name / path.relative_to(shipped)] = path
    folder = check_output(folder, folder=True)
    with claimed(check_output(folder / "configs", folder=True), "init") as work:
        for target, source in sources.items():
            if os.path.lexists(target) and not _is_same(target, source):
                raise NunerError(Errors.N016, path=target)
        work.new.mkdir()
        temporary = work.new / "file"
        try:
            for target, source in sources.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copyfile(source, temporary)
                    temporary.rename(target)
        except OSError as error:
            raise NunerError(Errors.N003, path=folder, reason=error.strerror) from error
    return list(sources)


def _is_same(target: Path, source: Path) -> bool:
    return target.is_file() and target.read_bytes() == source.read_bytes()
