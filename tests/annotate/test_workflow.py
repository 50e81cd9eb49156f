"""`spacy project run annotate` from the shipped project.yml, against the server."""

import json
import shlex
import shutil

import pytest
from typer.testing import CliRunner
from weasel.cli import run as weasel_run

from spacy_nuner.cli.app import app
from spacy_nuner.readers.docbin import read_corpus

from ..conftest import ROOT
from .server import Server

pytestmark = pytest.mark.slow


KEY = "sk-test-0123456789abcdef-WORKFLOW"
N = 30


@pytest.fixture
def project(assets, tmp_path, monkeypatch):
    """A copy of the project whose commands run in this process."""
    shutil.copy(ROOT / "project.yml", tmp_path)
    shutil.copy(assets / "annotations" / "arts-media.jsonl", tmp_path / "texts.jsonl")
    printed = []

    def run_commands(commands, *, dry=False, capture=False):
        for command in commands:
            words = shlex.split(command)
            assert words[:4] == ["python", "-m", "spacy", "nuner"]
            result = CliRunner().invoke(app, words[4:])
            printed.append(" ".join(result.output.split()))
            if result.exit_code:
                # As weasel does, which then writes nothing to project.lock.
                raise SystemExit(result.exit_code)

    monkeypatch.setattr(weasel_run, "run_commands", run_commands)

    def run(**overrides):
        printed.clear()
        settings = {"source": "texts.jsonl", "n": N, "rpm": 60_000, **overrides}
        named = {f"vars.{name}": value for name, value in settings.items()}
        weasel_run.project_run(tmp_path, "annotate", overrides=named)
        return printed

    run.folder, run.printed = tmp_path, printed
    return run


def test_from_text_to_figures(project, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    folder = project.folder / "annotation"
    with Server(key=KEY) as server:
        served = {"base_url": server.url, "model": "m"}
        printed = project(**served, ask="--temperature 0 --log annotation/log.jsonl")
        assert f"{N} answers" in printed[1]
        assert server.bodies[0]["model"] == "m"
        assert server.bodies[0]["temperature"] == 0
        assert server.bodies[0]["max_tokens"] == 1024
        # What is answered is not asked again; the rest has nothing to do.
        printed = project(**served, ask="--temperature 0 --log annotation/log.jsonl")
        assert f"{N} need no asking, 0 to ask" in printed[0]
        assert len(printed) == 1
        assert server.requests == N
    assert "Skipping 'stats': nothing changed" in " ".join(
        capsys.readouterr().out.split()
    )
    docs = list(read_corpus(folder / "corpus"))
    assert len(docs) == N
    assert all(doc.spans["concepts"] for doc in docs)
    stats = json.loads((folder / "stats" / "stats.json").read_text("utf8"))
    assert stats["sentences"] == N
    assert stats["annotations"] > N
    assert (folder / "stats" / "stats.html").stat().st_size > 10_000
    # The key is in no file: neither in the store and the log nor in project.lock.
    written = [path for path in project.folder.rglob("*") if path.is_file()]
    assert {"project.lock", "store.sqlite", "log.jsonl"} <= {
        one.name for one in written
    }
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_what_failed_is_asked_again_by_the_same_command(project):
    with Server(faults=0.03, slow=0.01) as server:
        served = {"base_url": server.url, "model": "m"}
        project(**served, ask="--retries 0")
        failed = N - len(server.answered)
        assert "W203" in project.printed[1]
        server.faults = 0.0
        printed = project(**served, ask="--retries 0")
        assert f"{failed} to ask" in printed[0]
        assert f"{N} answers in" in printed[1]
        assert f"{N} of {N} records" in printed[2]


def test_without_a_key(project):
    with pytest.raises(SystemExit):
        project()
    assert f"{N} sentences" in project.printed[0]
    assert "[N205] No API key in the environment" in project.printed[1]
    assert "OPENAI_API_KEY" in project.printed[1]
    assert not (project.folder / "annotation" / "answers.jsonl").exists()
