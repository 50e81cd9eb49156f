"""transformers.Trainer, told what our settings say and how our batches are made."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm
from transformers.trainer import Trainer
from transformers.trainer_callback import PrinterCallback, TrainerCallback
from transformers.training_args import TrainingArguments

from ..encoders.layers import has_fast_bf16
from ..errors import Errors, NunerError
from .data.batches import BatchLoader, Collator, LengthBatches
from .data.features import Features
from .model import ContrastiveModel, agreed
from .settings import Settings, TrainingSettings

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
        raise NunerError(
            Errors.N314, step=step, path=checkpoints, reason=reason
        ) from error


def _to_disk(folder: Path) -> None:
    # What was written is in memory for some seconds, and lost if the machine stops.
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


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


def training_arguments(
    training: TrainingSettings, checkpoints: Path, *, gpu_id: int
) -> TrainingArguments:
    """Put our settings into the words of transformers.

    training (TrainingSettings): The section of the config.
    checkpoints (Path): Where checkpoints go.
    gpu_id (int): The GPU, -1 for the processor.
    RETURNS (TrainingArguments): What the Trainer takes.
    RAISES (NunerError): N310 if there is no such GPU.
    """
    on_cpu = gpu_id < 0
    if not on_cpu:
        if "LOCAL_RANK" not in os.environ:
            _hide_other_gpus(gpu_id)
        if not torch.accelerator.is_available():
            raise NunerError(Errors.N310, found=gpu_id)
    bf16 = training.precision == "bf16" or (
        training.precision == "auto" and has_fast_bf16(on_cpu=on_cpu)
    )
    # Accelerate goes by this variable, in which a run in bf16 leaves its precision to
    # the next one of the process.
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if bf16 else "no"
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=training.epochs,
        gradient_accumulation_steps=training.accumulate_gradient,
        learning_rate=training.learn_rate,
        lr_scheduler_type="linear",
        warmup_ratio=training.warmup,
        max_grad_norm=training.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=bf16,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and "LOCAL_RANK" in os.environ else None,
        ddp_find_unused_parameters=False,
        seed=training.seed,
        logging_steps=training.logging_steps,
        # `CheckpointClock` says when.
        save_strategy="no",
        # Features of a large corpus take the first process a while.
        ddp_timeout=4 * 3600,
        # The bar is `Progress`.
        disable_tqdm=True,
        report_to=training.report_to or "none",
        dataloader_pin_memory=not on_cpu,
    )


def _hide_other_gpus(gpu_id: int) -> None:
    """Show torch one GPU: Trainer would spread one process over all that it sees.

    Those that are hidden already stay so: gpu_id counts among the visible ones.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = [str(gpu_id)]
    if visible is not None:
        chosen = [one for one in visible.split(",") if one][gpu_id : gpu_id + 1]
    if not chosen:
        raise NunerError(Errors.N310, found=gpu_id)
    os.environ["CUDA_VISIBLE_DEVICES"] = chosen[0]


class PretrainTrainer(Trainer):
    """transformers.Trainer with batches by length and a stop at a broken loss."""

    model: ContrastiveModel

    def __init__(
        self,
        *,
        model: ContrastiveModel,
        args: TrainingArguments,
        features: Features,
        settings: Settings,
        **kwargs: Any,
    ) -> None:
        """model (ContrastiveModel): What is trained.

        args (TrainingArguments): As `training_arguments` gives them.
        features (Features): The corpus.
        settings (Settings): The config.
        **kwargs: For `transformers.Trainer`.
        """
        self.texts: Any = features.texts
        # The whole column at once: row by row a million of them take minutes.
        lengths = features.texts.with_format("numpy")["length"][:]
        self.batches = LengthBatches(lengths, settings.training.batch_size, args.seed)
        self.collate = Collator(
            features.concepts,
            model.concept_encoder.tokenizer,
            description_dropout=settings.model.description_dropout,
            rank=args.process_index,
            world_size=args.world_size,
        )
        super().__init__(model=model, args=args, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(Progress(len(lengths)))
        training = settings.training
        self.add_callback(CheckpointClock(training.save_steps, training.save_minutes))

    def get_train_dataloader(self) -> BatchLoader:
        """Load batches of rows of like length.

        RETURNS (BatchLoader): The same batches in each process.
        """
        return BatchLoader(
            self.texts,
            batch_sampler=self.batches,
            collate_fn=self.collate,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> Any:
        """Enter bf16 on the processor as Trainer does, without its old torch call.

        cache_enabled (bool | None): Whether weights are cast once a step.
        RETURNS (ContextManager): For the forward pass.
        """
        if not self.use_cpu_amp:
            return super().autocast_smart_context_manager(cache_enabled=cache_enabled)
        return torch.autocast(
            "cpu", dtype=self.amp_dtype, cache_enabled=bool(cache_enabled)
        )

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Compute the loss as Trainer does, but stop if it is no number.

        model (nn.Module): The model.
        inputs (dict[str, Any]): What the collator gave.
        RETURNS (Tensor): The loss; on several devices its mean over them is that of
            the whole batch. *Shape:* ()
        RAISES (NunerError): N309 for NaN or infinity.
        """
        weight = inputs.pop("weight", 1.0)
        loss: Tensor = weight * super().compute_loss(model, inputs, *args, **kwargs)
        if not torch.isfinite(loss):
            raise self._broken(self.state.global_step + 1)
        return loss

    def _broken(self, step: int) -> NunerError:
        return NunerError(Errors.N309, step=step, rate=f"{self.args.learning_rate:g}")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        trained = (p for p in self.model.parameters() if p.requires_grad)
        if not all(torch.isfinite(parameter).all() for parameter in trained):
            # The gradient was broken, though the loss was not yet.
            raise self._broken(step)
        place = str(self.args.output_dir)
        with whole_checkpoint(Path(place), step, accelerator=self.accelerator) as made:
            # Where Trainer writes.
            self.args.output_dir = str(made)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.output_dir = place

    def last_loss(self) -> float:
        """Tell how the run ended.

        RETURNS (float): The last loss that was logged, averaged over `logging_steps`
            or, in a run shorter than that, over all steps.
        """
        history: list[dict[str, float]] = self.state.log_history
        logged = [entry["loss"] for entry in history if "loss" in entry]
        return round(logged[-1] if logged else history[-1]["train_loss"], 5)
