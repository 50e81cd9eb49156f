"""transformers.Trainer, told what our settings say and how our batches are made."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers.trainer import Trainer
from transformers.trainer_callback import ProgressCallback
from transformers.training_args import TrainingArguments

from ..encoder import has_fast_bf16
from ..errors import NunerError
from .batches import Collator, LengthSampler
from .features import Features
from .settings import Settings, TrainingSettings


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
            # Trainer would spread one process over all GPUs that it sees. Those that
            # are hidden already stay so: gpu_id counts among the visible ones.
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            chosen = visible[gpu_id] if gpu_id < len(visible) and visible[0] else gpu_id
            os.environ["CUDA_VISIBLE_DEVICES"] = str(chosen)
        if not torch.accelerator.is_available():
            raise NunerError("N310", found=gpu_id)
    bf16 = training.precision == "bf16" or (
        training.precision == "auto" and has_fast_bf16(on_cpu=on_cpu)
    )
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
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
        save_strategy="steps" if training.save_steps else "no",
        save_steps=training.save_steps or 1,
        save_total_limit=2,
        report_to=training.report_to or "none",
        # Mentions are no argument of the model; the collator needs them.
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu,
    )


class LossBar(ProgressCallback):
    """Transformers' progress bar with the loss in it instead of lines between."""

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
    ) -> None:
        """Show the loss, averaged over the last `logging_steps`, and the rate."""
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(
                loss=f"{logs['loss']:.4f}", lr=f"{logs['learning_rate']:.1e}"
            )


class PretrainTrainer(Trainer):
    """transformers.Trainer with batches by length and a stop at a broken loss."""

    def __init__(
        self, *, features: Features, settings: Settings, **kwargs: Any
    ) -> None:
        """features (Features): The corpus. settings (Settings): The config.

        **kwargs: For `transformers.Trainer`.
        """
        tokenizer = kwargs["model"].concept_encoder.tokenizer
        super().__init__(
            train_dataset=features.texts,
            data_collator=Collator(
                features.concepts,
                tokenizer,
                description_dropout=settings.model.description_dropout,
            ),
            **kwargs,
        )
        self.features = features
        self.remove_callback(ProgressCallback)
        self.add_callback(LossBar())

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        return LengthSampler(
            self.features.texts["length"],
            self.args.train_batch_size * self.args.world_size,
            self.args.seed,
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

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the loss as Trainer does, but stop if it is no number.

        RETURNS (Tensor): The loss. *Shape:* ()
        RAISES (NunerError): N309 for NaN or infinity.
        """
        loss: Tensor = super().compute_loss(*args, **kwargs)
        if not torch.isfinite(loss):
            raise NunerError(
                "N309",
                step=self.state.global_step + 1,
                rate=f"{self.args.learning_rate:g}",
            )
        return loss

    def last_loss(self) -> float:
        """Tell how the run ended.

        RETURNS (float): The last loss that was logged, averaged over `logging_steps`
            or, in a run shorter than that, over all steps.
        """
        history: list[dict[str, float]] = self.state.log_history
        logged = [entry["loss"] for entry in history if "loss" in entry]
        return round(logged[-1] if logged else history[-1]["train_loss"], 5)
