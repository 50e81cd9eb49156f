import re
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.cli.pretrain import _launcher
from spacy_nuner.encoders.folder import read_info

from ..conftest import ROOT
from ..pretrain.conftest import SENTENCES, TEXTS, write_corpus
from ..util import make_tiny_bert

pytestmark = pytest.mark.slow


CONFIG = str(ROOT / "configs" / "pretrain.cfg")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """What comes behind the output folder: overrides for a run of a second."""
    folder = tmp_path_factory.mktemp("cli")
    corpus = write_corpus(folder / "corpus", SENTENCES)
    base = make_tiny_bert(folder / "bert", TEXTS)
    return [
        *("--paths.corpus", str(corpus), "--paths.base", str(base)),
        *("--features.max_length", "48", "--features.max_concept_length", "24"),
        *("--training.epochs", "2", "--training.batch_size=2"),
    ]


def run(*arguments):
    return CliRunner().invoke(app, ["pretrain", *map(str, arguments)])


def test_command(tmp_path, arguments):
    result = run(CONFIG, tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    assert "5 sentences" in " ".join(result.output.split())
    info = read_info(tmp_path / "out")
    assert info.settings["training"]["epochs"] == 2
    assert info.command.startswith(f"spacy nuner pretrain {shlex.quote(str(CONFIG))}")
    assert "--training.batch_size=2" in info.command


def test_a_dry_run_trains_nothing(tmp_path, arguments):
    words = [CONFIG, tmp_path / "out", *arguments, "--dry-run"]
    result = run(*words, "--price-per-hour", "3600")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "5 sentences an epoch. What is left takes about:" in result.output
    (steps,) = (line for line in lines if line.startswith("steps "))
    assert re.fullmatch(r"steps 6 [\d,]+ sentences/s", steps)
    # An hour for 3,600 is a second for 1.
    (cost,) = (line for line in lines if line.startswith("cost "))
    (whole,) = (line for line in lines if line.startswith("in all "))
    minutes, seconds = map(int, whole.split()[2].split(":")[1:])
    assert float(cost.split()[1]) == pytest.approx(60 * minutes + seconds, abs=0.51)
    assert [path.name for path in tmp_path.iterdir()] == ["out.work"]
    assert "cost" not in run(*words).output
    assert run(*words[:-1], "--price-per-hour", "1").exit_code == 2
    result = run(*words[:-1])
    assert result.exit_code == 0, result.output
    assert "in all" in run(*words).output
    result = run(*words, "--resume")
    assert result.exit_code == 0, result.output
    assert "in all" not in result.output


def test_evaluated_on_a_set(tmp_path, arguments):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.conll").write_text(
            "Akira B-PER\nKurosawa I-PER\nfilmed O\n\nin O\nNara B-LOC\n\n" * 3
        )
    result = run(
        *(CONFIG, tmp_path / "out", *arguments, "--evaluation.every_steps", "2"),
        *("--evaluation.probe_train", tmp_path / "train.conll"),
        *(
            "--evaluation.probe_dev",
            tmp_path / "dev.conll",
            "--evaluation.keep_best",
            "true",
        ),
    )
    assert result.exit_code == 0, result.output
    assert "step 0: probe's token F1" in result.output
    training = read_info(tmp_path / "out").training
    assert training["best_step"] in (2, 4, 6)
    assert 0 < training["probe_token_f"] <= 1


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--training.epoch", "3"], "[N321] training.epochs"),
        (["--training.epochs", "x"], "[N301] training.epochs:"),
        (["--paths.corpus", "gone"], "[N105]"),
        (["--evaluation.probe_dev", "gone.conll"], "[N301] go together"),
        (
            [
                "--evaluation.probe_dev",
                "gone.conll",
                "--evaluation.probe_train",
                "gone.conll",
            ],
            "[N005] gone.conll",
        ),
    ],
)
def test_errors_are_messages(tmp_path, arguments, extra, words):
    result = run(CONFIG, tmp_path / "out", *arguments, *extra)
    assert result.exit_code == 1
    message = " ".join(result.output.split())
    assert all(word in message for word in words.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extra", [["--epochs", "3"], ["epochs"]])
def test_what_is_no_override(tmp_path, arguments, extra):
    assert run(CONFIG, tmp_path / "out", *arguments, *extra).exit_code != 0
    assert not list(tmp_path.iterdir())


def test_no_config(tmp_path):
    result = run(tmp_path / "gone.cfg", tmp_path / "out")
    assert result.exit_code == 1
    assert "[N320]" in result.output


def test_own_objective(tmp_path, arguments):
    code = tmp_path / "code.py"
    code.write_text(
        "from spacy.util import registry\n"
        "@registry.misc('test.OwnObjective.v1')\n"
        "def make(weight: float):\n"
        "    return lambda logits, targets: weight * (logits - targets).square().mean()"
    )
    own = ["--objective.@misc", "test.OwnObjective.v1", "--objective.weight", "0.5"]
    result = run(CONFIG, tmp_path / "out", *arguments, "--code", code, *own)
    assert result.exit_code == 0, result.output
    assert read_info(tmp_path / "out").settings["objective"]["weight"] == 0.5


@pytest.mark.parametrize("command", [["spacy_nuner"], ["spacy", "nuner"]])
def test_help_from_both_doors(command):
    done = subprocess.run(
        [sys.executable, "-m", *command, "pretrain", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--paths.corpus" in done.stdout


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "spacy nuner"),
        ({"LOCAL_WORLD_SIZE": "4"}, "torchrun --nproc-per-node 4 -m spacy_nuner"),
        (
            {"LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"},
            "torchrun --nnodes 2 --nproc-per-node 8 -m spacy_nuner",
        ),
    ],
)
def test_the_command_has_its_launcher(monkeypatch, environment, expected):
    for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert " ".join(_launcher()) == expected
