"""The blocks of the documentation run, page by page, each in a folder of its own."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import spacy
from typer.testing import CliRunner

from spacy_nuner.cli.app import app

from ..conftest import ROOT
from ..forker import Forker
from ..util import make_tiny_bert
from .blocks import Block, read_pages

PAGES = {
    name: runnable
    for name, blocks in read_pages().items()
    if (runnable := [block for block in blocks if not block.needs])
}
# Short runs: what is learned does not matter here.
PRETRAIN = {"features.max_length": 48, "training.epochs": 1, "training.batch_size": 4}
STEPS = 2
ROWS = 40


def copy_head(source: Path, target: Path, count: int = ROWS) -> None:
    """Copy the first lines of a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(encoding="utf8") as file:
        target.write_text("".join(islice(file, count)), encoding="utf8")


def write_bio(source: Path, target: Path) -> None:
    """Write texts with spans as columns of words and tags."""
    nlp = spacy.blank("en")
    lines = []
    for line in source.open(encoding="utf8"):
        row = json.loads(line)
        doc = nlp.make_doc(row["text"])
        doc.ents = [
            found
            for span in row["spans"]
            if (found := doc.char_span(span["start"], span["end"], span["label"]))
        ]
        tags = (f"{t.ent_iob_}-{t.ent_type_}".rstrip("-") for t in doc)
        lines += [f"{t.text}\t{tag}" for t, tag in zip(doc, tags, strict=True)] + [""]
    target.write_text("\n".join(lines), encoding="utf8")


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """What the pages take for granted: files, and a default backbone that is small."""
    from spacy_nuner.cli.build import build_default
    from spacy_nuner.encoders.default import get_default_path

    folder = tmp_path_factory.mktemp("docs")
    work = folder / "work"
    for path in (ROOT / "assets").glob("*/*.jsonl"):
        copy_head(path, work / path.relative_to(ROOT))
    for part in ("train", "dev", "test"):
        path = work / f"{part}.jsonl"
        copy_head(ROOT / "assets" / "listings" / path.name, path)
        write_bio(path, path.with_suffix(".conll"))
    answers = work / "assets" / "annotations" / "arts-media.jsonl"
    for name in ("answers.jsonl", "pile-ner.jsonl"):
        shutil.copy(answers, work / name)
    rows = [json.loads(line) for line in answers.open(encoding="utf8")]
    texts = [row[key] for row in rows for key in ("text", "answer")]
    bert = make_tiny_bert(folder / "bert", texts, layers=4, positions=128)
    for path in (ROOT / "configs").iterdir():
        text = path.read_text(encoding="utf8")
        text = re.sub(
            r"^(max_steps|total_steps) = \d+", rf"\1 = {STEPS}", text, flags=re.M
        )
        text = re.sub(r'^base = ".*"', f'base = "{bert}"', text, flags=re.M)
        target = work / "configs" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf8")
    shutil.copy(ROOT / "project.yml", work)
    for command in (
        ["convert", "assets/annotations", "corpus/annotations"],
        ["convert", "answers.jsonl", "corpus/mine"],
    ):
        words = [command[0], *(str(work / name) for name in command[1:])]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPACY_NUNER_HOME", str(folder / "home"))
        build_default(base=str(bert), annotations=answers, settings=PRETRAIN)
        shutil.copytree(get_default_path(), work / "training" / "backbone")
    return folder


@pytest.fixture
def folder(shared, tmp_path, monkeypatch) -> Path:
    """A copy of all that, in which a page runs."""
    work = tmp_path / "page"
    shutil.copytree(shared / "work", work)
    monkeypatch.chdir(work)
    monkeypatch.setenv("SPACY_NUNER_HOME", str(shared / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # `python` is this one.
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return work


@pytest.fixture
def forker(folder) -> Iterator[Forker]:
    """Runs commands of spaCy in the folder; importing is paid for once a page."""
    modules = ("spacy.cli", "spacy_nuner.cli.app", "spacy_nuner.pretrain.run")
    forker = Forker(*modules)
    yield forker
    forker.close()


def run_script(block: Block, folder: Path, forker: Forker) -> None:
    """Run a block of the shell and fail if a command of it does."""
    log = folder.parent / "log.txt"
    script = block.script.replace("\\\n", " ")
    lines = script.splitlines()
    # What needs no shell, but for the words of each line.
    if all(re.fullmatch(r"python -m spacy [^|&;<>$`*~#]+", line) for line in lines):
        for line in lines:
            args = shlex.split(line)[2:]
            code = forker.wait(forker.start(*args, output=log, cwd=folder))
            printed = f"{line}\n{log.read_text('utf8')[-4000:]}"
            assert code == 0, f"{block.name}\n{printed}"
        return
    with log.open("w") as output:
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=folder, stdout=output, stderr=output)
    printed = f"{script}\n{log.read_text('utf8')[-4000:]}"
    assert done.returncode == 0, f"{block.name}\n{printed}"


# Once a week.
TAKING_MINUTES = ("coming-from", "convert", "import", "labelling", "scale", "stats")
TAKING_MINUTES += ("fewshot", "publish", "worth")
WEEKLY = {f"docs/{name}.md" for name in TAKING_MINUTES}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.weekly] if page in WEEKLY else [])
        for page in PAGES
    ],
)
def test_blocks_run(page, folder, request):
    names: dict[str, object] = {}
    if page.startswith("README"):
        # Who reads it has nothing but the package, which brings the configs.
        shutil.rmtree(folder / "configs")
    for block in PAGES[page]:
        if block.language == "python":
            exec(compile(block.text, block.name, "exec"), names)
        else:
            run_script(block, folder, request.getfixturevalue("forker"))
