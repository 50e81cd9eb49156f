"""`spacy nuner draw`: a few-shot draw of a labelled set as DocBin."""

from pathlib import Path
from typing import Any

import typer

from ._util import LANG, OVERWRITE, PROTOCOL, SOURCE, msg

RECORD_SUFFIX = ".draw.json"


def draw_cli(
    train: Path = typer.Argument(..., help=f"Labelled set to draw from: {SOURCE}"),
    output: Path = typer.Argument(
        ..., help="DocBin to write (.spacy); a .draw.json goes into the same folder"
    ),
    k: int = typer.Option(..., help="Mentions (or words) of each label to draw"),
    protocol: str = typer.Option("mentions", help=PROTOCOL),
    seed: int = typer.Option(0, min=0, help="Seed of the draw"),
    allow_fewer: bool = typer.Option(
        False, help="Take all mentions of a label that has fewer than k"
    ),
    lang: str = LANG,
    overwrite: bool = OVERWRITE,
) -> None:
    """Draw some mentions of each label from a labelled set, for `spacy train`."""
    drawn = draw(
        train,
        output,
        k=k,
        protocol=protocol,
        seed=seed,
        allow_fewer=allow_fewer,
        lang=lang,
        overwrite=overwrite,
    )
    counts = ", ".join(f"{label} {n}" for label, n in drawn["mentions"].items())
    msg.good(f"{output}: {drawn['sentences']} of {drawn['pool']} sentences; {counts}")


def draw(
    train: Path,
    output: Path,
    *,
    k: int,
    protocol: str = "mentions",
    seed: int = 0,
    allow_fewer: bool = False,
    lang: str = "en",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw k mentions of each label from a labelled set and write them as a DocBin.

    train (Path): The set, as `read_docs` reads it.
    output (Path): The DocBin; an earlier draw is replaced.
    k (int): Mentions (or words) of each label.
    protocol (str): How sentences are drawn, of `draws.PROTOCOLS`.
    seed (int): Seed of the draw.
    allow_fewer (bool): Take all mentions of a label that has fewer than k.
    lang (str): The language of the tokenizer for texts.
    overwrite (bool): Replace files that are no earlier draw, too.
    RETURNS (dict[str, Any]): What was drawn: the content of `<name>.draw.json`.
    RAISES (NunerError): What `read_docs`, the protocol and `write_files` raise, N107
        if the name of the output does not end in .spacy.
    """
    from dataclasses import asdict

    import srsly
    from spacy.tokens import DocBin

    from ..corpus.labelled_docs import read_docs
    from ..errors import Errors, NunerError
    from ..fewshot.draws import find_protocol
    from ..outputs import write_files
    from ..printing import printable

    if output.suffix != ".spacy":
        expected = "a name that ends in .spacy"
        raise NunerError(Errors.N107, path=output, expected=expected)
    sidecar = output.with_suffix(RECORD_SUFFIX)
    paths = [output, sidecar]
    with write_files(
        paths, command="draw", inputs=[train], overwrite=overwrite
    ) as folder:
        pool = read_docs(train, lang=lang)
        make_draw = find_protocol(protocol)
        drawn = make_draw(pool, k, seed=seed, allow_fewer=allow_fewer)
        record = {
            "source": printable(train.name),
            "pool": len(pool),
            "sentences": len(drawn.docs),
            **asdict(drawn),
        }
        docs = (pool[index] for index in drawn.docs)
        DocBin(docs=docs, store_user_data=True).to_disk(folder / output.name)
        srsly.write_json(folder / sidecar.name, record, indent=0)
    return record
