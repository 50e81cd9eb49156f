"""transformers.Trainer, told what our settings say and how our batches are made."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.trainer import Trainer
from transformers.trainer_callback import PrinterCallback
from transformers.training_args import TrainingArguments

from ..encoder import has_fast_bf16
from ..errors import NunerError
from .batches import BatchLoader, Collator, LengthBatches
from .checkpoints import CheckpointClock, whole_checkpoint
from .contrast import ContrastiveModel
from .features import Features
from .progress import Progress
from .settings import Settings, TrainingSettings
from .states import KeptStates, TextsWithStates


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
            raise NunerError("N310", found=gpu_id)
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
        raise NunerError("N310", found=gpu_id)
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
        kept: KeptStates | None = None,
        **kwargs: Any,
    ) -> None:
        """model (ContrastiveModel): What is trained.

        args (TrainingArguments): As `training_arguments` gives them.
        features (Features): The corpus.
        settings (Settings): The config.
        kept (KeptStates | None): What the frozen layers make of it, if it is kept.
        **kwargs: For `transformers.Trainer`.
        """
        self.texts: Any = features.texts
        if kept is not None:
            self.texts = TextsWithStates(features, kept.texts)
        # The whole column at once: row by row a million of them take minutes.
        lengths = features.texts.with_format("numpy")["length"][:]
        self.batches = LengthBatches(lengths, settings.training.batch_size, args.seed)
        self.collate = Collator(
            features.concepts,
            model.concept_encoder.tokenizer,
            description_dropout=settings.model.description_dropout,
            concept_states=kept.concepts if kept else None,
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
        return NunerError("N309", step=step, rate=f"{self.args.learning_rate:g}")

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
