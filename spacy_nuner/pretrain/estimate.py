"""How long a run takes, by some steps of it, before it begins."""

import math
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from thinc.api import Config
from torch import distributed
from transformers.trainer_callback import TrainerCallback

from .data.batches import LengthBatches
from .evaluation import Probe
from .model import process_group
from .run import Run, find_finished, most_held, prepared, space_needed
from .settings import Settings, complete_config
from .trainer import (
    PretrainTrainer,
    Progress,
    checkpoint_step,
    training_arguments,
)

# Steps that are not timed: memory is taken and kernels are chosen.
WARM_UP = 5
# At least so many steps are timed, and for so long.
MIN_STEPS, SECONDS = 20, 30.0


@dataclass(frozen=True)
class Estimate:
    """What is left of a run, and what it takes."""

    steps: int
    """Steps that are left."""
    done: int
    """Steps that an earlier start has done."""
    texts: int
    """Texts of an epoch, the parts of long ones counted each."""
    texts_per_second: float
    """Over all devices."""
    timed: int
    """Steps that were timed."""
    training: float
    """Seconds of all steps that are left."""
    error: float
    """Standard error of these seconds, by how much the timed steps differ."""
    evaluations: int
    """How often the backbone is evaluated."""
    evaluation: float
    """Seconds of all evaluations."""
    checkpoints: int
    """How often a checkpoint is written."""
    checkpoint: float
    """Seconds of all checkpoints."""
    memory: int | None
    """Most bytes on the device, at the step with the longest texts; None if the device
    does not tell."""
    disk: int
    """Most bytes on the disk while it runs."""

    @property
    def seconds(self) -> float:
        """All in all."""
        return self.training + self.evaluation + self.checkpoint


@process_group()
def estimate(
    config: Config,
    output: Path,
    *,
    gpu_id: int = -1,
    resume: bool = False,
    n_process: int = 1,
    command: str = "",
    probe: Probe | None = None,
    seconds: float = SECONDS,
) -> Estimate | None:
    """Time some steps, an evaluation and a checkpoint of a run.

    They are those of the run itself: its encoder, its corpus, its device. Nothing that
    is learned is kept. The features are, for the run.

    config (Config): As `read_config` gives it; what it leaves out has its default.
    output (Path): The backbone folder that the run would make; it is not written.
    gpu_id, resume, n_process, command, probe: As for `pretrain`.
    seconds (float): How long to time steps, if they are more than `MIN_STEPS`.
    RETURNS (Estimate | None): What is left of the run; None if nothing is, and in the
        processes of a distributed run that are not the first.
    RAISES (NunerError): What `pretrain` raises.
    """
    config = complete_config(config)
    if resume and find_finished(config, output):
        return None
    with prepared(
        config,
        output,
        gpu_id=gpu_id,
        resume=resume,
        n_process=n_process,
        command=command,
    ) as run:
        timer = Timer(seconds)
        timing = run.folder.timing
        quiet = _without_interruptions(run.settings)
        trainer = TimedTrainer(
            model=run.model,
            args=training_arguments(quiet, timing, gpu_id=gpu_id, resume=False),
            settings=run.settings,
            features=run.features,
            held_out=run.held_out,
            probe=probe,
            callbacks=[timer],
        )
        trainer.remove_callback(Progress)
        try:
            trainer.train()
            # Of the largest step, before an evaluation takes more.
            memory = _peak_memory(trainer.args.device)
            evaluation = checkpoint = 0.0
            if run.settings.evaluation.every_steps:
                started = time.monotonic()
                trainer.evaluate()
                evaluation = time.monotonic() - started
            if run.arguments.save_strategy != "no":
                started = time.monotonic()
                trainer._save_checkpoint(trainer.model, None)
                checkpoint = time.monotonic() - started
        finally:
            if trainer.is_world_process_zero():
                shutil.rmtree(timing, ignore_errors=True)
        if not trainer.is_world_process_zero():
            return None
        # The features are for the run.
        run.folder.work.unfinished = True
        return _sum_up(
            run,
            timer,
            steps=trainer.state.max_steps,
            evaluation=evaluation,
            checkpoint=checkpoint,
            memory=memory,
        )


class Timer(TrainerCallback):
    """Times steps, and stops when it knows enough."""

    def __init__(self, seconds: float) -> None:
        """seconds (float): How long to time them, if more than `MIN_STEPS`."""
        self.seconds = seconds
        # When timing began, then the end of each timed step.
        self.times: list[float] = []
        self.warm_up = 0

    def on_train_begin(
        self, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> None:
        """Leave out the first steps, unless there are no others."""
        self.warm_up = min(WARM_UP, state.max_steps // 2)
        if not self.warm_up:
            self.times.append(time.monotonic())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time; decide for all devices whether to go on."""
        if state.global_step < self.warm_up:
            return
        self.times.append(time.monotonic())
        passed = self.times[-1] - self.times[0]
        is_enough = len(self.times) > MIN_STEPS and passed > self.seconds
        if distributed.is_initialized():
            decision = torch.tensor(float(is_enough), device=args.device)
            distributed.all_reduce(decision, distributed.ReduceOp.MAX)
            is_enough = bool(decision)
        control.should_training_stop |= is_enough
        is_last = is_enough or state.global_step == state.max_steps
        if is_last or len(self.times) == 1:
            # What a GPU has been told to do is not yet done.
            if args.device.type != "cpu":
                torch.accelerator.synchronize()
            self.times[-1] = time.monotonic()

    def step_seconds(self) -> list[float]:
        """RETURNS (list[float]): The seconds of each timed step."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [end - start for start, end in pairs]


class LongestFirst(LengthBatches):
    """The same batches, but that with the longest texts comes first.

    So what does not fit into memory shows at once.
    """

    def __iter__(self) -> Iterator[list[int]]:
        batches = list(super().__iter__())
        sizes = [len(batch) * self.lengths[batch].max() for batch in batches]
        longest = sizes.index(max(sizes))
        yield batches[longest]
        yield from batches[:longest] + batches[longest + 1 :]


class TimedTrainer(PretrainTrainer):
    """A trainer that takes the longest batch first."""

    batches = LongestFirst


def _without_interruptions(settings: Settings) -> Settings:
    """The settings without evaluations, checkpoints and logs, which are timed apart."""
    training = {"save_steps": 0, "log_steps": sys.maxsize, "report_to": []}
    evaluation = {"every_steps": 0, "keep_best": False}
    return settings.model_copy(
        update={
            "training": settings.training.model_copy(update=training),
            "evaluation": settings.evaluation.model_copy(update=evaluation),
        }
    )


def _sum_up(
    run: Run,
    timer: Timer,
    *,
    steps: int,
    evaluation: float,
    checkpoint: float,
    memory: int | None,
) -> Estimate:
    """Multiply what was timed by how often it comes."""
    settings, done = run.settings, 0
    if run.checkpoint is not None:
        done = checkpoint_step(run.checkpoint)
    left = steps - done
    times = timer.step_seconds()
    mean = fmean(times)
    spread = stdev(times) if len(times) > 1 else 0.0
    training = settings.training
    # Evaluated before the first step and after the last one, too.
    every = settings.evaluation.every_steps
    evaluations = _count(every, done, steps) + (not done) if every else 0
    evaluations += bool(every and steps % every)
    every = every if settings.evaluation.keep_best else training.save_steps
    # None is written after the last step, but with keep_best.
    until = steps if settings.evaluation.keep_best else steps - 1
    checkpoints = _count(every, done, until) if every else 0
    features = sum(path.stat().st_size for path in run.folder.features.glob("*"))
    return Estimate(
        steps=left,
        done=done,
        texts=len(run.features.texts),
        texts_per_second=len(run.features.texts) * training.epochs / steps / mean,
        timed=len(times),
        training=left * mean,
        error=left * spread / math.sqrt(len(times)),
        evaluations=evaluations,
        evaluation=evaluations * evaluation,
        checkpoints=checkpoints,
        checkpoint=checkpoints * checkpoint,
        memory=memory,
        disk=features
        + space_needed(
            run.model, checkpoints=min(checkpoints, most_held(run.arguments))
        ),
    )


def _count(every: int, done: int, steps: int) -> int:
    """RETURNS (int): How many multiples of a number lie above `done` up to `steps`."""
    return steps // every - done // every


def _peak_memory(device: torch.device) -> int | None:
    """RETURNS (int | None): The most bytes that this process has taken on a device."""
    if device.type != "cpu":
        read = getattr(torch.get_device_module(device), "max_memory_reserved", None)
        return None if read is None else read(device)
    try:
        import resource
    except ImportError:
        # Of Unix alone.
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In kibibytes, but on a Mac.
    return peak if sys.platform == "darwin" else peak * 1024
