"""transformers.Trainer with our settings, batches, measures and progress."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm
from transformers.trainer import Trainer
from transformers.trainer_callback import PrinterCallback, TrainerCallback
from transformers.training_args import TrainingArguments

from ..encoders.layers import encoder_layers, has_fast_bf16
from ..encoders.safety import read_object
from ..errors import Errors, NunerError
from ..files import hash_file
from .data.batches import BatchLoader, Collator, LengthBatches
from .data.features import Features
from .evaluation import MEASURES, PREFIX, PROBE, Probe, evaluate
from .model import ContrastiveModel
from .settings import Settings

# In a checkpoint that is written whole and on the disk: its other files, as JSON.
COMPLETE = "complete"


@contextmanager
def trainer_environment(gpu_id: int) -> Iterator[None]:
    """Set the environment variables that Trainer reads, for the time of a run.

    Trainer would spread one process over all GPUs that it sees, so it is shown one;
    under torchrun each process has that of its rank. And the precision of a run comes
    from its own settings, not from what an earlier one left in the environment.

    gpu_id (int): The GPU among the visible ones, -1 for the processor.
    RAISES (NunerError): N310 if there is no such GPU.
    """
    names = ("ACCELERATE_MIXED_PRECISION", "CUDA_VISIBLE_DEVICES")
    before = {name: os.environ.get(name) for name in names}
    try:
        os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
        if gpu_id >= 0 and "LOCAL_RANK" not in os.environ:
            visible, chosen = os.environ.get("CUDA_VISIBLE_DEVICES"), [str(gpu_id)]
            if visible is not None:
                ids = [one for one in visible.split(",") if one]
                chosen = ids[gpu_id : gpu_id + 1]
            if not chosen:
                raise NunerError(Errors.N310, found=gpu_id)
            os.environ["CUDA_VISIBLE_DEVICES"] = chosen[0]
        if gpu_id >= 0 and not torch.accelerator.is_available():
            raise NunerError(Errors.N310, found=gpu_id)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def training_arguments(
    settings: Settings, checkpoints: Path, *, gpu_id: int, resume: bool
) -> TrainingArguments:
    """Translate our settings into those of transformers.

    settings (Settings): The config.
    checkpoints (Path): Where checkpoints go.
    gpu_id (int): The GPU, -1 for the processor.
    resume (bool): Whether the run goes on from a checkpoint.
    RETURNS (TrainingArguments): What the Trainer takes.
    """
    training, evaluation = settings.training, settings.evaluation
    # The peak of the learning rate comes with the encoder, in `PretrainTrainer`.
    on_cpu = gpu_id < 0
    evaluated = evaluation.every_steps > 0
    # The best weights are those of a checkpoint, so there is one at each evaluation.
    save_steps = evaluation.every_steps if evaluation.keep_best else training.save_steps
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=training.epochs,
        gradient_accumulation_steps=training.accumulate_gradient,
        lr_scheduler_type="linear",
        warmup_ratio=training.warmup,
        max_grad_norm=training.grad_clip,
        optim="adamw_torch_fused",
        bf16=training.precision == "bf16"
        or (training.precision == "auto" and has_fast_bf16(on_cpu=on_cpu)),
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and "LOCAL_RANK" in os.environ else None,
        ddp_find_unused_parameters=False,
        # Features of a large corpus take the first process a while.
        ddp_timeout=4 * 3600,
        seed=training.seed,
        logging_steps=training.log_steps,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=evaluation.every_steps or None,
        eval_on_start=evaluated and not resume,
        save_strategy="steps" if save_steps else "no",
        save_steps=save_steps or 500,
        # The newest may be lost with the power before it is on the disk, and the best
        # may be far behind.
        save_total_limit=3 if evaluation.keep_best else 2,
        load_best_model_at_end=evaluation.keep_best,
        metric_for_best_model=PROBE if evaluation.keep_best else None,
        greater_is_better=True if evaluation.keep_best else None,
        # The bar is `Progress`.
        disable_tqdm=True,
        report_to=training.report_to or "none",
        dataloader_pin_memory=not on_cpu,
    )


# Parameters in all layers together: all-MiniLM-L6-v2 has 11 million, an encoder of base
# size 85 million. Embeddings don't count, of which multilingual encoders have the most.
SMALL_LAYERS = 30_000_000
SMALL_RATE, LARGE_RATE = 3e-4, 2e-4


def choose_learn_rate(encoder: nn.Module) -> float:
    """Choose the peak of the learning rate for an encoder's size.

    all-MiniLM-L6-v2 learns no more at 2e-4 or 1e-3 than at 3e-4, all-mpnet-base-v2 as
    much at 2e-4 as at 1e-4, and finds more with no example (docs/recipe.md). Larger
    ones than base size were not tried.

    encoder (nn.Module): An encoder of the transformers library.
    RETURNS (float): The rate.
    """
    size = sum(weight.numel() for weight in encoder_layers(encoder).parameters())
    return SMALL_RATE if size < SMALL_LAYERS else LARGE_RATE


class PretrainTrainer(Trainer):
    """transformers.Trainer with batches by length and a stop at a broken loss."""

    model: ContrastiveModel
    batches: type[LengthBatches] = LengthBatches

    def __init__(
        self,
        *,
        model: ContrastiveModel,
        args: TrainingArguments,
        settings: Settings,
        features: Features,
        held_out: Features,
        probe: Probe | None,
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        """model (ContrastiveModel): What is trained.

        args (TrainingArguments): As `training_arguments` gives them.
        settings (Settings): The config.
        features (Features): The corpus.
        held_out (Features): What of it is only evaluated on.
        probe (Probe | None): What is measured on a labelled set.
        callbacks (Sequence[TrainerCallback]): Called at each step.
        """
        args.learning_rate = settings.training.learn_rate or choose_learn_rate(
            model.text_encoder
        )
        # It wants something to evaluate on; our `evaluate` does not ask for it.
        super().__init__(
            model=model,
            args=args,
            eval_dataset=held_out.texts,
            callbacks=list(callbacks),
        )
        self.features = features
        self.settings = settings
        self.held_out = held_out
        self.probe = probe
        self.remove_callback(PrinterCallback)
        self.add_callback(LastStep())
        self.add_callback(Progress(len(features.texts)))

    def get_train_dataloader(self) -> BatchLoader:
        """RETURNS (BatchLoader): Batches of like length, the same in each process."""
        # The whole column at once: row by row a million of them take minutes.
        lengths = self.features.texts.with_format("numpy")["length"][:]
        return BatchLoader(
            self.features.texts,
            batch_sampler=self.batches(
                lengths,
                self.settings.training.batch_size,
                self.args.seed,
                together=self.settings.training.accumulate_gradient,
            ),
            collate_fn=Collator(
                self.features.concepts,
                self.model.concept_encoder.tokenizer,
                description_dropout=self.settings.model.description_dropout,
                rank=self.args.process_index,
                world_size=self.args.world_size,
            ),
            pin_memory=self.args.dataloader_pin_memory,
        )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as Trainer does.

        RETURNS (TrainOutput): What Trainer returns.
        RAISES (NunerError): N700 if a step does not fit into the memory of the device.
        """
        try:
            return super().train(*args, **kwargs)
        except torch.OutOfMemoryError as error:
            size = self.settings.training.batch_size
            reason = str(error).partition(". ")[0]
            raise NunerError(Errors.N700, size=size, reason=reason) from error

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> Any:
        """Enter bf16 on the processor as Trainer does, without its old torch call."""
        if not self.use_cpu_amp:
            return super().autocast_smart_context_manager(cache_enabled=cache_enabled)
        return torch.autocast(
            "cpu", dtype=self.amp_dtype, cache_enabled=bool(cache_enabled)
        )

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Compute the loss as Trainer does, but stop if it is no number.

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

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure the backbone; all processes do, since all have the whole model.

        RETURNS (dict[str, float]): Some of `MEASURES` with `PREFIX`, and the seconds
            that it took.
        """
        started = time.monotonic()
        values = evaluate(self.model, self.held_out, self.probe)
        if not values:
            return {}
        values["seconds"] = round(time.monotonic() - started, 2)
        metrics = {f"{PREFIX}{key}": value for key, value in values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _broken(self, step: int) -> NunerError:
        return NunerError(Errors.N309, step=step, rate=f"{self.args.learning_rate:g}")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint; one that could not be written whole is removed."""
        step, first = self.state.global_step, self.is_world_process_zero()
        trained = (p for p in self.model.parameters() if p.requires_grad)
        if not all(torch.isfinite(parameter).all() for parameter in trained):
            # The gradient was broken, though the loss was not yet.
            raise self._broken(step)
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{step}"
        if first:
            # Of a damaged one of the same step, which a resumed run passed over.
            (folder / COMPLETE).unlink(missing_ok=True)
        try:
            super()._save_checkpoint(model, trial)
            # Each process writes its random state.
            self.accelerator.wait_for_everyone()
            if first:
                hashes = {}
                for path in sorted(filter(Path.is_file, folder.iterdir())):
                    # In memory for some seconds, and lost if the machine stops.
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                    hashes[path.name] = hash_file(path)
                (folder / COMPLETE).write_text(json.dumps(hashes, indent=1))
        except (OSError, SafetensorError, RuntimeError) as error:
            # torch has a RuntimeError for a full disk, safetensors an error of its own.
            reason = " ".join(str(error).split())
            raise NunerError(
                Errors.N314, step=step, path=folder.parent, reason=reason
            ) from error
        finally:
            if first and not (folder / COMPLETE).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def best_step(self) -> int:
        """RETURNS (int): The step of the weights that the model has at the end."""
        best = self.state.best_model_checkpoint
        return self.state.global_step if best is None else checkpoint_step(Path(best))

    def last_loss(self) -> float:
        """RETURNS (float): The last loss logged; of a short run, that of all steps."""
        history: list[dict[str, float]] = self.state.log_history
        logged = [entry["loss"] for entry in history if "loss" in entry]
        return round(logged[-1] if logged else history[-1]["train_loss"], 5)


def find_checkpoint(folder: Path) -> Path | None:
    """RETURNS (Path | None): The last complete checkpoint of a folder, if any."""
    return next(iter(_list_checkpoints(folder)), None)


def find_whole_checkpoint(folder: Path) -> tuple[Path | None, list[NunerError]]:
    """Find the last checkpoint of a folder whose files are as they were written.

    folder (Path): Where checkpoints go.
    RETURNS (tuple): The checkpoint, None if there is none; and an error for each later
        one, which is damaged.
    RAISES (NunerError): N322 if all are damaged.
    """
    damaged: list[NunerError] = []
    checkpoints = _list_checkpoints(folder)
    for i, checkpoint in enumerate(checkpoints):
        reason = find_damage(checkpoint)
        if reason is None:
            return checkpoint, damaged
        todo = (
            "The one before it is taken."
            if checkpoints[i + 1 :]
            else f"There is none before it: start again without --resume, after you "
            f"deleted '{folder.parent}'."
        )
        damaged.append(
            NunerError(Errors.N322, path=checkpoint, reason=reason, todo=todo)
        )
    if damaged:
        raise damaged[-1]
    return None, []


def _list_checkpoints(folder: Path) -> list[Path]:
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return sorted(found, key=checkpoint_step, reverse=True)


def find_damage(checkpoint: Path) -> str | None:
    """Compare the files of a checkpoint with what was written.

    checkpoint (Path): Its folder.
    RETURNS (str | None): What is wrong with the first that differs; None if none does.
    """
    try:
        hashes = read_object(checkpoint / COMPLETE)
    except ValueError as error:
        return f"its list of files ('{COMPLETE}') is not whole: {error}"
    for name, expected in hashes.items():
        path = checkpoint / Path(name).name
        if not path.is_file():
            return f"it has no {path.name}"
        if hash_file(path) != expected:
            return f"{path.name} is not as it was written"
    return None if hashes else f"its list of files ('{COMPLETE}') is empty"


def checkpoint_step(checkpoint: Path) -> int:
    """RETURNS (int): The step that a checkpoint was written at."""
    return int(checkpoint.name.rpartition("-")[2])


class LastStep(TrainerCallback):
    """Evaluates after the last step, and writes no checkpoint that nobody reads."""

    def on_train_begin(
        self, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> None:
        """Take the intervals of this run, not those that the checkpoint had."""
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Change what Trainer would do at the end."""
        if state.global_step == state.max_steps:
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = args.load_best_model_at_end


# Steps after which the length of the whole run is shown.
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
        """Move the bar; after the first steps show how long the run will take."""
        self.bar.update(state.global_step - self.bar.n)
        began, first, _ = self.start
        if state.global_step - first == ESTIMATE_AFTER:
            left = self._left(state)
            whole = tqdm.format_interval(time.monotonic() - began + left)
            self._write(
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
            self._write(
                state, f"step {state.global_step:,} of {state.max_steps:,}: {text}"
            )
        else:
            self.bar.set_postfix_str(text)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Show what was measured."""
        text = ", ".join(
            f"{name} {100 * metrics[PREFIX + key]:.1f}"
            for key, name in MEASURES.items()
            if PREFIX + key in metrics
        )
        self._write(state, f"step {state.global_step:,}: {text}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the bar as it is."""
        self.bar.close()

    def _left(self, state: Any) -> float:
        began, first, _ = self.start
        passed = time.monotonic() - began
        done = state.global_step - first
        return passed / done * (state.max_steps - state.global_step)

    def _write(self, state: Any, text: str) -> None:
        if state.is_world_process_zero:
            tqdm.write(text, file=sys.stderr)
