"""`spacy nuner stats`: what a corpus is like, as a page, figures and numbers."""

from pathlib import Path
from typing import Any

import typer

from ._util import msg


def stats_cli(
    corpus: Path = typer.Argument(help="Corpus that convert wrote"),
    output: Path = typer.Argument(
        help="Folder for stats.html, stats.json and the figures; an earlier one is "
        "replaced"
    ),
    backbone: str | None = typer.Option(
        None,
        help="Backbone whose concept encoder lays out the map of concepts: a folder, "
        "hub name, package:NAME/PATH or default; without it their spelling does",
    ),
) -> None:
    """Count annotations and concepts, and draw them."""
    from ..stats.counts import compare_with_published
    from ..stats.page import PAGE

    rows = compare_with_published(stats(corpus, output, backbone=backbone))
    msg.table(rows, header=("", "this corpus", "NuNER"), aligns=("l", "r", "r"))
    msg.good(f"Page, figures and numbers: {output / PAGE}")


def stats(
    corpus: Path, output: Path, *, backbone: str | Path | None = None
) -> dict[str, Any]:
    """Count annotations and concepts of a corpus, and draw them.

    corpus (Path): A folder of DocBins with `doc.spans["concepts"]`.
    output (Path): Folder for stats.html, stats.json and the figures; an earlier one is
        replaced.
    backbone (str | Path | None): Backbone whose concept encoder lays out the map of
        concepts; None to lay it out by their spelling.
    RETURNS (dict[str, Any]): The content of stats.json.
    RAISES (NunerError): What `find_folder`, `ConceptEncoder.from_folder`,
        `count_corpus` and `write_stats` raise.
    """
    from ..stats.counts import count_corpus
    from ..stats.page import write_stats

    encode = None
    if backbone is not None:
        from ..encoders.concept_encoder import ConceptEncoder
        from ..encoders.names import ENCODER_FILES, fetch, find_folder

        name = str(backbone)
        folder = find_folder(name) or fetch(name, ENCODER_FILES)
        encode = ConceptEncoder.from_folder(folder).encode
    counted = count_corpus(corpus)
    return write_stats(counted, output, title=corpus.resolve().name, encode=encode)
