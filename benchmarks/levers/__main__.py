"""What each lever of pre-training is worth: docs/recipe.md.

    python benchmarks/levers $DATA CORPUS --output metrics/levers
    python benchmarks/levers $DATA CORPUS --output metrics/levers --lever dedupe
    python benchmarks/levers $DATA CORPUS --output metrics/levers --frozen 1

Each lever alone against names and NuNER's own loss, all-MiniLM-L6-v2, the same passages
and the same number of steps. `CORPUS` is a folder of DocBin shards as
`spacy nuner convert` writes them, of which `--passages` are drawn. The trained half
runs on packed rows from kept states (packed.py); measure.py has the sets, none of which
is a test file.
"""

import copy
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from measure import NAMED, PROBED, ROOT, Embedded, Named, Probed, embed
from packed import Layers, run_frozen
from passages import open_corpus
from recipe import LEVERS
from runs import Model, Run

from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.files import replacing

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)


def main(
    data: Path = typer.Argument(..., help="Folder of labelled sets"),
    corpus: Path = typer.Argument(..., help="Folder of DocBin shards"),
    output: Path = typer.Option(..., help="Folder of results, one JSON a lever"),
    lever: list[str] = typer.Option(list(LEVERS), help="Which levers"),
    passages: int = typer.Option(4000, help="Rows drawn from the corpus"),
    epochs: int = typer.Option(2, help="Passes over them"),
    frozen: int = typer.Option(3, help="Layers that are not trained"),
    seed: int = typer.Option(0, help="Of weights and batches"),
    k: list[int] = typer.Option([1, 4, 16], help="Mentions of each label"),
    save: Path | None = typer.Option(None, help="Folder for the text encoders"),
) -> None:
    """Train and measure each lever; print mean scores over the sets."""
    if unknown := set(lever) - set(LEVERS):
        raise typer.BadParameter(f"no lever: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    texts, reader = open_corpus(corpus, passages, frozen)
    tokenizer, encoder = reader.tokenizer, texts.encoder

    def embed_docs(docs: list[Any]) -> Embedded:
        return embed(docs, tokenizer, encoder, frozen)

    probed = [Probed(name, data, embed_docs, k) for name in PROBED]
    listings = {"listings": ROOT / "assets" / "listings" / "dev.jsonl"}
    files = {name: data / name / file for name, file in NAMED.items()} | listings
    named = [Named(name, path, embed_docs) for name, path in files.items()]
    base = Layers(encoder, frozen, 0.0).eval()
    scores_of_base = mean_scores(base, probed)
    typer.echo(f"base {scores_of_base}")
    for name in lever:
        start = time.monotonic()
        levers = LEVERS[name]
        model = Run(texts, encoder, levers, epochs, seed)()
        seconds = round(time.monotonic() - start)
        scores = mean_scores(model.text, probed)
        # A softmax over a list of concepts knows no other.
        if not levers.classes:
            background = texts.background(model.text)
            scores |= score_names(model, named, background, encoder, reader)
        gains = {
            key: round(value - scores_of_base.get(key, 0), 1)
            for key, value in scores.items()
        }
        typer.echo(f"{name} ({seconds} s) {gains}")
        run = {"passages": passages, "epochs": epochs, "frozen": frozen, "seed": seed}
        facts = {"levers": asdict(levers), **run, "seconds": seconds, **scores}
        facts["base"] = scores_of_base
        place = "-".join([name, *(f"{key}{value}" for key, value in run.items())])
        with replacing(output / f"{place}.json") as beside:
            beside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf8")
        if save is not None:
            whole = copy.deepcopy(encoder)
            model.text.write_to(whole)
            whole.save_pretrained(save / place)
            tokenizer.save_pretrained(save / place)


def mean_scores(layers: Layers, probed: list[Probed]) -> dict[str, float]:
    """The probe on all sets."""
    scores = [one.score(layers) for one in probed]
    return {
        key: round(float(np.mean([score[key] for score in scores])), 2)
        for key in scores[0]
    }


@torch.inference_mode()
def score_names(
    model: Model,
    named: list[Named],
    background: torch.Tensor,
    encoder: Any,
    reader: ConceptEncoder,
) -> dict[str, float]:
    """Entity F1 by names alone at 0.5, and at the best threshold for all sets."""
    scores = []
    for one in named:
        ids = reader.pieces(one.names)
        pad = reader.tokenizer.pad_token_id
        rows = run_frozen(encoder, ids, model.concept.first, pad)
        concepts = model.encode_concepts(rows)
        pieces = torch.from_numpy(one.docs.run(model.text)[:, 1])
        # As ConceptPrior does.
        usual = model.compare(background, concepts)
        usual = (usual.mean(0) + 3 * usual.std(0)).clamp(max=0)
        logits = model.compare(pieces, concepts) - usual
        scores.append(one.score(logits.numpy(), THRESHOLDS))
    means = np.mean(scores, axis=0)
    half = means[THRESHOLDS.index(0.5)]
    return {"k=0": round(float(half), 2), "k=0 best": round(float(means.max()), 2)}


if __name__ == "__main__":
    typer.run(main)
