"""What a person sees of a run: loss, rate, speed, time left."""

import sys
import time
from typing import Any

from tqdm import tqdm
from transformers.trainer_callback import TrainerCallback

# Steps after which the length of the whole run is told.
ESTIMATE_AFTER = 50
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"


class Progress(TrainerCallback):
    """A bar on a terminal, a line for each value of the loss in a log file."""

    def __init__(self, rows: int) -> None:
        """rows (int): Texts of an epoch, the parts of long ones counted each."""
        self.rows = rows

    def on_train_begin(
        self, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.start = self.last = (time.monotonic(), state.global_step, state.epoch)
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            bar_format=BAR,
            dynamic_ncols=True,
            # None: only where there is a terminal.
            disable=None if state.is_world_process_zero else True,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar; after the first steps tell how long the run will take."""
        self.bar.update(state.global_step - self.bar.n)
        began, first, _ = self.start
        if state.global_step - first == ESTIMATE_AFTER:
            left = self._left(state)
            whole = tqdm.format_interval(time.monotonic() - began + left)
            self._tell(
                state,
                f"{ESTIMATE_AFTER} steps done; all {state.max_steps - first:,} will "
                f"take about {whole}",
            )

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
    ) -> None:
        """Show the loss, averaged over the steps since the last one shown."""
        if "loss" not in (logs or {}):
            return
        now = time.monotonic()
        before, _, epoch = self.last
        speed = self.rows * (state.epoch - epoch) / max(now - before, 1e-9)
        self.last = (now, state.global_step, state.epoch)
        text = (
            f"loss {logs['loss']:.4f}, rate {logs['learning_rate']:.1e}, "
            f"{speed:,.0f} sentences/s, {tqdm.format_interval(self._left(state))} left"
        )
        if self.bar.disable:
            self._tell(
                state, f"step {state.global_step:,} of {state.max_steps:,}: {text}"
            )
        else:
            self.bar.set_postfix_str(text)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the bar as it stands."""
        self.bar.close()

    def _left(self, state: Any) -> float:
        began, first, _ = self.start
        passed = time.monotonic() - began
        done = state.global_step - first
        return passed / done * (state.max_steps - state.global_step)

    def _tell(self, state: Any, text: str) -> None:
        if state.is_world_process_zero:
            tqdm.write(text, file=sys.stderr)
