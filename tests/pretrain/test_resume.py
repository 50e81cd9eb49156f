"""What broke off goes on, and nothing broken stands."""

import errno
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from spacy.util import registry
from transformers import TrainerCallback

from spacy_nuner.encoders.folder import read_info
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.model import sigmoid_cross_entropy
from spacy_nuner.pretrain.run import pretrain

from ..conftest import one_in, weekly
from ..util import make_tiny_bert
from .conftest import SENTENCES, TEXTS, no_traces, write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def break_off():
    """Register an objective that breaks the run after some steps."""
    plan = {"steps": math.inf, "error": None}

    @registry.misc("test.BreakingObjective.v1")
    def make_objective():
        def objective(logits, targets):
            plan["steps"] -= 1
            if plan["steps"] < 0:
                if plan["error"] is None:
                    return sigmoid_cross_entropy(logits, targets) * math.nan
                raise plan["error"]
            return sigmoid_cross_entropy(logits, targets)

        return objective

    return plan


def test_resumed_within_steps_of_several_batches(
    tmp_path, bert, make_config, break_off
):
    """Of five batches an epoch the last would be left over."""
    copies = [(f"{text} {i}", mentions) for text, mentions in SENTENCES for i in "12"]
    config = make_config(
        write_corpus(tmp_path / "corpus", copies[:9]),
        bert,
        **{"objective.@misc": "test.BreakingObjective.v1"},
        training__epochs=3,
        training__save_steps=1,
        training__batch_size=2,
        training__accumulate_gradient=2,
    )
    break_off.update(steps=math.inf)
    whole = pretrain(config, tmp_path / "whole")
    # In the third batch of the second epoch.
    break_off.update(steps=8, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "broken")
    break_off.update(steps=math.inf)
    info = pretrain(config, tmp_path / "broken", resume=True)
    assert info.training["steps"] == whole.training["steps"] == 9
    weights = [tmp_path / name / "model.safetensors" for name in ("whole", "broken")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_resumed_run_ends_with_the_same_weights(
    tmp_path, corpus, bert, make_config, break_off
):
    config = make_config(
        corpus,
        bert,
        **{"objective.@misc": "test.BreakingObjective.v1"},
        training__epochs=4,
        training__save_steps=2,
    )
    break_off.update(steps=math.inf)
    pretrain(config, tmp_path / "whole")
    # The 8th of 12 steps is in the third epoch; the last checkpoint is of step 6.
    break_off.update(steps=7, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "broken")
    assert no_traces(tmp_path, "whole", "broken.work")
    break_off.update(steps=math.inf)
    with pytest.raises(NunerError, match="N311.*--resume"):
        pretrain(config, tmp_path / "broken")
    other = make_config(corpus, bert, training__epochs=9, training__save_steps=2)
    with pytest.raises(NunerError, match=r"N312.*objective\.@misc, training\.epochs"):
        pretrain(other, tmp_path / "broken", resume=True)
    info = pretrain(config, tmp_path / "broken", resume=True)
    assert info.training["steps"] == 12
    assert no_traces(tmp_path, "whole", "broken")
    for part in ("model.safetensors", "concept_encoder/model.safetensors"):
        whole = (tmp_path / "whole" / part).read_bytes()
        assert (tmp_path / "broken" / part).read_bytes() == whole
    assert read_info(tmp_path / "whole").scale == info.scale


@pytest.mark.parametrize("changed", ["corpus", *weekly("base", "frozen")])
def test_what_an_early_end_left_is_used_for_the_same_run_alone(
    tmp_path, corpus, bert, make_config, break_off, changed
):
    """Broken off before the first checkpoint, features stay behind."""
    breaking = {"objective.@misc": "test.BreakingObjective.v1"}
    base, texts = tmp_path / "base", tmp_path / "texts"
    shutil.copytree(bert, base)
    shutil.copytree(corpus, texts)
    first = {"model__frozen_layers": 1}
    break_off.update(steps=1, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        config = make_config(texts, base, **breaking, **first)
        pretrain(config, tmp_path / "out")
    assert (tmp_path / "out.work" / "features").is_dir()
    break_off.update(steps=math.inf)
    then = dict(first)
    if changed == "corpus":
        write_corpus(texts, SENTENCES[:3], next(texts.glob("*.spacy")).stem)
    elif changed == "base":
        make_tiny_bert(base, TEXTS, seed=3)
    else:
        then["model__frozen_layers"] = 0
    config = make_config(texts, base, **breaking, **then)
    info = pretrain(config, tmp_path / "out")
    fresh = pretrain(config, tmp_path / "fresh")
    assert info.data == fresh.data
    weights = [
        (tmp_path / name / "model.safetensors").read_bytes()
        for name in ("out", "fresh")
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        *weekly(
            RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"),
            KeyboardInterrupt(),
        ),
    ],
)
def test_a_checkpoint_that_can_not_be_written_leaves_the_one_before(
    tmp_path, corpus, bert, make_config, monkeypatch, error, caplog
):
    config = make_config(corpus, bert, training__epochs=2, training__save_steps=2)
    pretrain(config, tmp_path / "whole")
    save, folder = torch.save, tmp_path / "out.work" / "checkpoints"

    def fill_up(content, path, *args, **kwargs):
        save(content, path, *args, **kwargs)
        # Part of the second checkpoint stands by then.
        if "checkpoint-4/optimizer" in str(path):
            raise error

    monkeypatch.setattr(torch, "save", fill_up)
    expected, message = NunerError, "N314.* step 4"
    if isinstance(error, KeyboardInterrupt):
        expected, message = KeyboardInterrupt, None
    with pytest.raises(expected, match=message):
        pretrain(config, tmp_path / "out", command="spacy nuner pretrain a b")
    assert "W302" in caplog.text
    assert "Resume with: spacy nuner pretrain a b --resume" in caplog.text
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-2"]
    monkeypatch.setattr(torch, "save", save)
    pretrain(config, tmp_path / "out", resume=True)
    weights = [
        (tmp_path / o / "model.safetensors").read_bytes() for o in ("whole", "out")
    ]
    assert weights[0] == weights[1]


def test_a_checkpoint_of_broken_weights_is_not_written(
    tmp_path, corpus, bert, make_config, caplog
):
    """A gradient can be broken where the loss is not."""

    class BreakWeights(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 3:
                model.similarity.scale.data.fill_(math.nan)

    config = make_config(corpus, bert, training__save_steps=3)
    with pytest.raises(NunerError, match="N309.* step 3"):
        pretrain(config, tmp_path / "out", callbacks=[BreakWeights()])
    assert not list((tmp_path / "out.work").glob("checkpoints/checkpoint-*"))
    assert "W302" not in caplog.text


def test_checkpoints_by_steps(tmp_path, corpus, bert, make_config):
    class NoteSaved(TrainerCallback):
        def __init__(self):
            self.steps, self.found = [], []

        def on_save(self, args, state, control, **kwargs):
            self.steps.append(state.global_step)
            folders = Path(args.output_dir).glob("checkpoint-*/complete")
            self.found.append(sorted(path.parent.name for path in folders))

    saved = NoteSaved()
    config = make_config(
        corpus, bert, training__save_steps=1, evaluation__every_steps=0
    )
    pretrain(config, tmp_path / "out", callbacks=[saved])
    # None at the last step, whose weights are the backbone.
    assert saved.steps == [1, 2, 3, 4, 5]
    # The one before stays until the next one is on the disk.
    assert saved.found[-2:] == [
        ["checkpoint-3", "checkpoint-4"],
        ["checkpoint-4", "checkpoint-5"],
    ]
    none = NoteSaved()
    config = make_config(corpus, bert, training__save_steps=0)
    pretrain(config, tmp_path / "out", callbacks=[none])
    assert none.steps == []


def test_an_incomplete_checkpoint_is_not_gone_on_from(
    tmp_path, corpus, bert, make_config, break_off
):
    """As of a process that was killed while it wrote the checkpoint."""
    settings = {"objective.@misc": "test.BreakingObjective.v1"}
    config = make_config(corpus, bert, **settings, training__save_steps=2)
    break_off.update(steps=math.inf)
    pretrain(config, tmp_path / "whole")
    break_off.update(steps=5, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "out")
    break_off.update(steps=math.inf)
    checkpoint = tmp_path / "out.work" / "checkpoints" / "checkpoint-4"
    (checkpoint / "complete").unlink()
    (checkpoint / "model.safetensors").write_bytes(b"half")
    pretrain(config, tmp_path / "out", resume=True)
    weights = [
        (tmp_path / name / "model.safetensors").read_bytes()
        for name in ("whole", "out")
    ]
    assert weights[0] == weights[1]


def test_a_run_of_an_older_release_goes_on(
    tmp_path, corpus, bert, make_config, break_off
):
    """Its config does not have a setting that came later."""
    settings = {"objective.@misc": "test.BreakingObjective.v1"}
    config = make_config(corpus, bert, **settings, training__save_steps=2)
    break_off.update(steps=3, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "out")
    break_off.update(steps=math.inf)
    path = tmp_path / "out.work" / "config.cfg"
    lines = path.read_text(encoding="utf8").splitlines()
    path.write_text("\n".join(x for x in lines if not x.startswith("grad_clip")))
    info = pretrain(config, tmp_path / "out", resume=True)
    assert info.settings["training"]["grad_clip"] == 1.0


def test_what_changes_no_weights_may_change_at_resume(
    tmp_path, corpus, bert, make_config, break_off
):
    settings = {
        "objective.@misc": "test.BreakingObjective.v1",
        "training.save_steps": 2,
    }
    break_off.update(steps=3, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_config(corpus, bert, **settings), tmp_path / "out")
    break_off.update(steps=math.inf)
    settings |= {"training.save_steps": 1}
    other = make_config(corpus, bert, **settings, training__precision="bf16")
    seen = []

    class Look(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            seen.append(state.global_step)

    info = pretrain(other, tmp_path / "out", resume=True, callbacks=[Look()])
    # The checkpoint had another interval.
    assert seen == list(range(3, info.training["steps"]))
    assert info.training["resumed_at_step"] == 2


def read_weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_where_there_is_nothing_to_resume_the_run_begins(
    tmp_path, corpus, bert, make_config, break_off, caplog
):
    """So one command serves a job that may be ended at any time."""
    settings = {"objective.@misc": "test.BreakingObjective.v1"}
    config = make_config(corpus, bert, **settings, training__save_steps=4)
    break_off.update(steps=math.inf)
    pretrain(config, tmp_path / "whole")
    assert "There is nothing to resume" not in caplog.text
    # Before the first checkpoint, and after it.
    for steps in (2, 5):
        break_off.update(steps=steps, error=KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, tmp_path / "out", resume=True)
        assert "There is nothing to resume" in caplog.text
    caplog.clear()
    break_off.update(steps=math.inf)
    pretrain(config, tmp_path / "out", resume=True)
    assert "There is nothing to resume" not in caplog.text
    assert read_weights(tmp_path / "out") == read_weights(tmp_path / "whole")


def test_a_finished_run_is_not_done_again(
    tmp_path, corpus, bert, make_config, monkeypatch, caplog
):
    """Nor where it or its base lie elsewhere now, or on another device."""
    # What is asked for is compared with what was chosen for the encoder.
    texts, base, out = tmp_path / "texts", tmp_path / "base", tmp_path / "out"
    shutil.copytree(corpus, texts)
    shutil.copytree(bert, base)
    made = pretrain(make_config(corpus, bert), out, resume=True)
    assert made.settings["training"]["learn_rate"] == 3e-4
    before = out.stat().st_ino
    caplog.clear()
    free = {"training__save_steps": 7, "training__learn_rate": 3e-4}
    assert pretrain(make_config(texts, base, **free), out, resume=True) == made
    assert "nothing is left to do" in caplog.text
    assert out.stat().st_ino == before
    # Everything else is another run. Two that end within a second may be described
    # alike, so what tells is whether a run said that there is nothing to do.
    for change in ("settings", "rate", "corpus", "encoder", "release"):
        more = {"training__epochs": 1}
        if change == "rate":
            more["training__learn_rate"] = 1e-4
        elif change == "corpus":
            write_corpus(texts, SENTENCES[:3], next(texts.glob("*.spacy")).stem)
        elif change == "encoder":
            make_tiny_bert(base, TEXTS, seed=3)
        elif change == "release":
            info = json.loads((out / "nuner.json").read_text())
            info["settings"]["training"]["odd"] = 1
            text = json.dumps(info)
            (out / "nuner.json").write_text(text)
            manifest = json.loads((out / ".spacy_nuner.json").read_text())
            manifest["files"]["nuner.json"] = len(text)
            (out / ".spacy_nuner.json").write_text(json.dumps(manifest))
        config = make_config(texts, base, **more)
        caplog.clear()
        now = pretrain(config, out, resume=True)
        assert "nothing is left to do" not in caplog.text, change
        assert now == read_info(out)
        assert pretrain(config, out, resume=True) == now
        assert "nothing is left to do" in caplog.text, change


@pytest.mark.parametrize("changed", ["corpus", "base"])
def test_a_run_is_not_resumed_on_other_inputs(
    tmp_path, corpus, bert, make_config, break_off, changed
):
    """Under the same names; by the hashes of what is there."""
    texts, base = tmp_path / "texts", tmp_path / "base"
    shutil.copytree(corpus, texts)
    shutil.copytree(bert, base)
    settings = {"objective.@misc": "test.BreakingObjective.v1"}
    config = make_config(texts, base, **settings, training__save_steps=2)
    break_off.update(steps=3, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "out")
    break_off.update(steps=math.inf)
    if changed == "corpus":
        write_corpus(texts, SENTENCES[:3], next(texts.glob("*.spacy")).stem)
    else:
        make_tiny_bert(base, TEXTS, seed=3)
    with pytest.raises(NunerError, match=f"N312.*of paths.{changed}"):
        pretrain(config, tmp_path / "out", resume=True)
    # Nothing of it was taken away.
    assert list((tmp_path / "out.work" / "checkpoints").glob("*/complete"))


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path, corpus, bert, make_config, break_off
):
    config = make_config(
        corpus, bert, **{"objective.@misc": "test.BreakingObjective.v1"}
    )
    break_off.update(steps=2, error=None)
    with pytest.raises(NunerError, match="N309.*step 3.*learn_rate"):
        pretrain(config, tmp_path / "out")
    # The features, which the next start has no need to make again.
    assert no_traces(tmp_path, "out.work")


@pytest.fixture
def broken_off(tmp_path, corpus, bert, make_config, break_off):
    """A run that broke off after its checkpoints of steps 2 and 4."""
    settings = {"objective.@misc": "test.BreakingObjective.v1"}
    config = make_config(corpus, bert, **settings, training__save_steps=2)
    break_off.update(steps=5, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "out")
    break_off.update(steps=math.inf)
    return config, tmp_path / "out.work" / "checkpoints"


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES = {
    "optimizer.pt": cut,
    "model.safetensors": cut,
    "scheduler.pt": zero,
    "rng_state.pth": zero,
    "trainer_state.json": lambda path: path.unlink(),
    "complete": lambda path: path.write_text(""),
}


@pytest.mark.parametrize("name", one_in(2, DAMAGES))
def test_of_a_damaged_checkpoint_the_one_before_is_taken(
    name, broken_off, tmp_path, caplog
):
    config, checkpoints = broken_off
    DAMAGES[name](checkpoints / "checkpoint-4" / name)
    pretrain(config, tmp_path / "out", resume=True)
    told = next(text for text in caplog.messages if "W322" in text)
    assert f"[N322] The checkpoint '{checkpoints / 'checkpoint-4'}'" in told
    assert name in told and "Delete this folder" in told and "from step 2." in told
    assert no_traces(tmp_path, "out")


@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json"])
def test_where_all_checkpoints_are_damaged(name, broken_off, tmp_path):
    config, checkpoints = broken_off
    for checkpoint in checkpoints.iterdir():
        DAMAGES[name](checkpoint / name)
    with pytest.raises(NunerError, match="N322.*checkpoint-2.*out.work'") as caught:
        pretrain(config, tmp_path / "out", resume=True)
    assert name in str(caught.value)
    # Nothing of it was taken away.
    assert len(list(checkpoints.iterdir())) == 2


@pytest.mark.parametrize(
    "name",
    ["config.cfg", "data.json", "features/texts.arrow", "features/concepts.arrow"],
)
def test_a_damaged_folder_of_a_run(name, broken_off, tmp_path):
    config, checkpoints = broken_off
    (checkpoints.parent / name).write_text("[[")
    with pytest.raises(NunerError, match="N323.*out.work"):
        pretrain(config, tmp_path / "out", resume=True)
