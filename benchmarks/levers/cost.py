"""What each lever costs: the time of a run beside the paper's recipe.

    python benchmarks/levers/cost.py CORPUS
    python benchmarks/levers/cost.py CORPUS --frozen 2 --lever paper --lever ours

Short runs on the same passages, one lever after another and all of it several times, on
one thread. Processor time, since a machine that is shared stretches the other kind;
printed is the median of the ratios to the first lever of the same round.
"""

import time
from pathlib import Path

import numpy as np
import torch
import typer
from passages import open_corpus
from recipe import LEVERS
from runs import Run


def main(
    corpus: Path = typer.Argument(..., help="Folder of DocBin shards"),
    lever: list[str] = typer.Option(list(LEVERS), help="Which levers"),
    passages: int = typer.Option(512, help="Rows drawn from the corpus"),
    frozen: int = typer.Option(3, help="Layers that are not trained"),
    rounds: int = typer.Option(3, help="Times that all levers are run"),
) -> None:
    """Run each lever, print its time as a share of the first one's."""
    torch.set_num_threads(1)
    texts, _ = open_corpus(corpus, passages, frozen)
    # What is kept for all runs is not part of one.
    texts.masked_texts()
    texts.topics()
    # The first run compiles the products of its shapes.
    Run(texts, texts.encoder, LEVERS[lever[0]], 1, 0)()
    seconds = np.zeros((rounds, len(lever)))
    for turn in range(rounds):
        for place, name in enumerate(lever):
            start = time.process_time()
            Run(texts, texts.encoder, LEVERS[name], 1, 0)()
            seconds[turn, place] = time.process_time() - start
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    for name, ratio in zip(lever, ratios, strict=True):
        typer.echo(f"{name} {ratio:.2f}")


if __name__ == "__main__":
    typer.run(main)
