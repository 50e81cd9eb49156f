"""When a run is saved, and that what is saved stands whole or not at all."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.trainer_callback import TrainerCallback

from ..errors import NunerError
from .devices import agreed

# A checkpoint that is being written, beside those that stand.
UNFINISHED = "unfinished"


class CheckpointClock(TrainerCallback):
    """Asks for a checkpoint every n steps and every n minutes."""

    def __init__(self, steps: int, minutes: float) -> None:
        """steps (int): Steps between two checkpoints; 0: steps don't count.

        minutes (float): Minutes between two checkpoints; 0: time does not count.
        """
        self.steps = steps
        self.seconds = 60 * minutes
        self.last = time.monotonic()

    def on_train_begin(
        self, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask if it is time to; all devices save at the same step."""
        if self.steps and state.global_step % self.steps == 0:
            control.should_save = True
        # Clocks differ, and to agree takes all devices a moment: not at every step.
        elif self.seconds and state.global_step % args.logging_steps == 0:
            due = time.monotonic() - self.last >= self.seconds
            control.should_save = agreed(due, args.device)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock anew."""
        self.last = time.monotonic()


@contextmanager
def whole_checkpoint(
    checkpoints: Path, step: int, *, accelerator: Any
) -> Iterator[Path]:
    """Write a checkpoint beside those that stand; the last one goes when it is whole.

    checkpoints (Path): The folder of the checkpoints.
    step (int): The step that is saved.
    accelerator (Accelerator): Knows the other processes, which write their parts.
    YIELDS (Path): The folder to write `checkpoint-<step>` in.
    RAISES (NunerError): N314 if it can't be written, as on a full disk.
    """
    beside = checkpoints / UNFINISHED
    first = accelerator.is_main_process
    try:
        yield beside
        accelerator.wait_for_everyone()
        if first:
            before = list(checkpoints.glob("checkpoint-*"))
            (made,) = beside.iterdir()
            _to_disk(made)
            made.rename(checkpoints / made.name)
            for folder in before:
                shutil.rmtree(folder)
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch has a RuntimeError for a full disk, safetensors an error of its own.
        if first:
            shutil.rmtree(beside, ignore_errors=True)
        reason = " ".join(str(error).split())
        raise NunerError("N314", step=step, path=checkpoints, reason=reason) from error


def _to_disk(folder: Path) -> None:
    # What was written is in memory for some seconds, and lost if the machine stops.
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
