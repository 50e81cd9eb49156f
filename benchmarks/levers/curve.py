"""The gain over the base encoder against passages, from the results of levers.

    python benchmarks/levers/curve.py metrics/curve docs/images

Reads what `python benchmarks/levers ... --output metrics/curve --passages N` wrote, for
any recipes and numbers of passages; prints a table and draws passages.png.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import typer

from spacy_nuner.plotting import BLUE, GREEN, GREY, ORANGE, new_figure

KS = (1, 4, 16)
# The layers that are better, for the backbones and for the base encoder.
LAYERS = {1: "last", 4: "both", 16: "both"}
COLOURS = (GREY, GREEN, BLUE, ORANGE)
# Recipe and k -> passages -> gain, a seed each.
Gains = dict[tuple[str, int], dict[int, list[float]]]


def read_gains(folder: Path) -> Gains:
    """Gains in macro token F1; k=0 is entity F1 itself, the base has none."""
    gains: Gains = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf8"))
        name = path.stem.partition("-passages")[0]
        recipe = f"{name}, {facts['frozen']} frozen, {facts['epochs']} epochs"
        for k in KS:
            gain = facts[f"{LAYERS[k]} k={k}"] - facts["base"][f"both k={k}"]
            gains[recipe, k][facts["passages"]].append(gain)
        if "k=0" in facts:
            gains[recipe, 0][facts["passages"]].append(facts["k=0"])
    return gains


def main(
    results: Path = typer.Argument(..., help="Folder of results"),
    images: Path = typer.Argument(..., help="Folder for the figure"),
) -> None:
    """Print the table and draw the figure."""
    gains = read_gains(results)
    recipes = sorted({recipe for recipe, _ in gains}, reverse=True)
    if len(recipes) > len(COLOURS):
        raise SystemExit(f"There are colours for {len(COLOURS)} recipes: {recipes}")
    passages = sorted({n for of in gains.values() for n in of})
    print("| passages |", " | ".join(recipes), "|")
    print("| ---: |", " --- |" * len(recipes))
    for n in passages:
        cells = [tell(gains, recipe, n) for recipe in recipes]
        print(f"| {n:,} |", " | ".join(cells), "|")

    with new_figure(images / "passages", (13, 3)) as figure:
        panels = (*KS, 0)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, k in zip(axes, panels, strict=True):
            for recipe, colour in zip(recipes, COLOURS, strict=False):
                of = gains[recipe, k]
                ns = [n for n in passages if of[n]]
                means = [np.mean(of[n]) for n in ns]
                axis.plot(ns, means, "o-", color=colour, markersize=4, label=recipe)
            axis.set_xscale("log")
            axis.set_xticks(passages, [f"{n:,}" for n in passages], fontsize=7)
            axis.minorticks_off()
            axis.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.8)
            axis.set_title(f"Gain, k={k}" if k else "No example, entity F1")
        axes[0].legend(frameon=False)
        figure.supxlabel("rows of at most 64 word pieces", fontsize=10)


def tell(gains: Gains, recipe: str, passages: int) -> str:
    """Gains at each k, then what comes out with no example; means over seeds."""
    if not gains[recipe, KS[0]][passages]:
        return ""
    told = " / ".join(f"{np.mean(gains[recipe, k][passages]):+.1f}" for k in KS)
    zero = gains[recipe, 0][passages]
    return f"{told}; {np.mean(zero):.1f}" if zero else told


if __name__ == "__main__":
    typer.run(main)
