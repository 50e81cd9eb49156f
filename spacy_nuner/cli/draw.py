"""`spacy nuner draw`: a few-shot draw of a labelled set as DocBin."""

from pathlib import Path

import typer


def draw(
    input_path: Path = typer.Argument(
        ..., metavar="INPUT", help="Labelled set: .conll, .jsonl or .spacy"
    ),
    output_path: Path = typer.Argument(
        ...,
        metavar="OUTPUT",
        help="DocBin to write (.spacy); a .draw.json goes beside it",
    ),
    k: int | None = typer.Option(
        None, help="Mentions of each label to draw; without it everything is written"
    ),
    seed: int = typer.Option(0, help="Seed of the draw"),
    allow_fewer: bool = typer.Option(
        False, help="Take all mentions of a label that has fewer than k"
    ),
    lang: str = typer.Option("en", help="Language of the tokenizer for texts"),
) -> None:
    """Draw k mentions of each label from a labelled set, for `spacy train`."""
    import json
    from collections import Counter

    from spacy.tokens import DocBin
    from wasabi import msg

    from ..errors import Errors, NunerError
    from ..fewshot.draws import draw_docs
    from ..files import replacing
    from ..readers.labelled.sets import read_docs

    if output_path.suffix != ".spacy":
        raise NunerError(Errors.N613, path=output_path)
    docs = read_docs(input_path, lang=lang)
    places = list(range(len(docs)))
    if k is not None:
        places = draw_docs(docs, k, seed=seed, allow_fewer=allow_fewer).docs
    found = Counter(ent.label_ for place in places for ent in docs[place].ents)
    mentions = dict(sorted(found.items()))
    record = {
        "source": input_path.name,
        "pool": len(docs),
        "k": k,
        "seed": None if k is None else seed,
        "sentences": len(places),
        "mentions": mentions,
        "docs": places,
    }
    with replacing(output_path) as beside:
        DocBin(docs=[docs[place] for place in places]).to_disk(beside)
    with replacing(output_path.with_suffix(".draw.json")) as beside:
        beside.write_text(json.dumps(record) + "\n", encoding="utf8")
    told = ", ".join(f"{label} {count}" for label, count in mentions.items())
    msg.good(f"{output_path}: {len(places)} of {len(docs)} sentences; {told}")
