"""`spacy project run backbone` as shipped, with folders in the place of the hub."""

import csv
import json
import shlex
import shutil
from itertools import islice

import pytest
from typer.testing import CliRunner
from weasel.cli import run as weasel_run

from spacy_nuner.cli.app import app
from spacy_nuner.encoders.folder import read_info
from spacy_nuner.pretrain.trainer import PretrainTrainer

from ..conftest import ROOT
from .conftest import SENTENCES

pytest.importorskip("datasets")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SETTINGS = (
    "--features.max_length 48 --features.max_concept_length 24 --training.batch_size 2 "
    "--training.save_steps 3 --training.precision fp32"
)
COMMANDS = ["convert-sets", "pretrain-on-sets", "probe-on-sets", "report-on-sets"]


def write_nuner(folder):
    """As numind/NuNER: columns input and output, splits entity and full."""
    folder.mkdir(parents=True)
    for split in ("entity", "full"):
        path = folder / f"{split}-00000-of-00001.csv"
        with path.open("w", newline="", encoding="utf8") as file:
            writer = csv.writer(file)
            writer.writerow(["input", "output"])
            for text, mentions in SENTENCES:
                parts = [one if split == "full" else one[:2] for one in mentions]
                writer.writerow([text, str([" <> ".join(one) for one in parts])])


def write_pile_ner(folder):
    """As Universal-NER/Pile-NER-type: one list of conversations."""
    folder.mkdir(parents=True)
    rows = []
    for number, (text, mentions) in enumerate(SENTENCES[::-1]):
        turns = [("human", f"Text: {text} (read twice)"), ("gpt", "I've read it.")]
        for entity, concept, _ in mentions:
            # Many passages of it have this type.
            name = "concept" if concept == "hormone" else concept
            turns.append(("human", f"What describes {name} in the text?"))
            turns.append(("gpt", json.dumps([entity])))
        told = [{"from": one, "value": value} for one, value in turns]
        rows.append({"id": f"ner_{number}", "conversations": told})
    (folder / "train.json").write_text(json.dumps(rows), encoding="utf8")


@pytest.fixture
def project(tmp_path, bert, monkeypatch):
    """A copy of the project whose commands run in this process."""
    folder = tmp_path / "project"
    for name in ("project.yml", "configs/pretrain.cfg"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, folder / name)
    for part in ("train", "test"):
        path = folder / "mine" / f"{part}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with (ROOT / "assets" / "listings" / path.name).open(encoding="utf8") as file:
            path.write_text("".join(islice(file, 40)), encoding="utf8")
    write_nuner(tmp_path / "hub" / "NuNER" / "data")
    write_pile_ner(tmp_path / "hub" / "Pile-NER-type")
    shutil.copytree(bert, tmp_path / "base")
    # A command is cut at blanks, and the folder of the tests may have some.
    sets = "hub:../hub/NuNER::full hub:../hub/Pile-NER-type"
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
        settings = {
            **{"sets": sets, "base": "../base", "dataset": "mine", "draws": 1},
            **{"epochs": 2, "settings": SETTINGS, "limit": 4, **overrides},
        }
        named = {f"vars.{name}": value for name, value in settings.items()}
        weasel_run.project_run(folder, "backbone", overrides=named)
        return printed

    run.folder, run.printed = folder, printed
    return run


@pytest.fixture
def break_off(monkeypatch):
    """End the training before a step, but not a dry run."""
    plan, step = {"left": None}, PretrainTrainer.training_step

    def training_step(self, *args, **kwargs):
        if type(self) is PretrainTrainer and plan["left"] is not None:
            plan["left"] -= 1
            if plan["left"] < 0:
                raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(PretrainTrainer, "training_step", training_step)
    return plan


def read_skipped(capsys):
    text = " ".join(capsys.readouterr().out.split())
    return [name for name in COMMANDS if f"Skipping '{name}': nothing changed" in text]


def test_from_the_hub_to_a_report_through_an_end_in_between(
    project, break_off, capsys, caplog
):
    whole, hub = project.folder / "whole", project.folder / "hub"
    printed = project(hub="whole", price=3600)
    assert len(printed) == 5
    # Four of each set.
    assert "8 of 8 records" in printed[0]
    assert "8 sentences an epoch. What is left takes about: steps 8 " in printed[1]
    assert " cost " in printed[1] and " done: " not in printed[1]
    assert "8 steps, loss" in printed[2]
    # Of the passage with the type "concept" the rest is kept.
    concepts = dict(read_info(whole / "backbone").data["top_concepts"])
    assert "lab value" in concepts and "concept" not in concepts
    report = (whole / "report" / "report.md").read_text(encoding="utf8")
    assert "mine" in report and "nuner" in report and "base" in report

    break_off["left"] = 5
    with pytest.raises(SystemExit):
        project()
    assert len(project.printed) == 3
    assert not (hub / "backbone").exists()
    # The same command once more: it goes on from step 3 and ends with the same weights.
    break_off["left"] = None
    capsys.readouterr()
    printed = project()
    assert read_skipped(capsys) == ["convert-sets"]
    assert "(done: 3). What is left takes about: steps 5 " in printed[0]
    assert "8 steps, loss" in printed[1]
    for part in ("model.safetensors", "concept_encoder/model.safetensors"):
        found = (hub / "backbone" / part).read_bytes()
        assert found == (whole / "backbone" / part).read_bytes()
    assert not list(project.folder.rglob("*.work"))

    # Then there is nothing to do, and nothing that was paid for is done again.
    assert project() == []
    assert read_skipped(capsys) == COMMANDS
    before = (hub / "backbone").stat().st_ino
    caplog.clear()
    assert len(project(price=2)) == 2
    assert caplog.text.count("nothing is left to do") == 2
    assert read_skipped(capsys) == [*COMMANDS[:1], *COMMANDS[2:]]
    assert (hub / "backbone").stat().st_ino == before


def test_another_corpus_is_not_taken_for_that_of_a_run_that_broke_off(
    project, break_off
):
    break_off["left"] = 5
    with pytest.raises(SystemExit):
        project()
    break_off["left"] = None
    with pytest.raises(SystemExit):
        project(limit=0)
    assert "10 of 10 records" in project.printed[0]
    assert "[N312]" in project.printed[1] and "paths.corpus" in project.printed[1]
    assert "delete the folder to start again" in project.printed[1]
