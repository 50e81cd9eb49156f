"""`spacy nuner stats`: what a corpus is like, as a page, figures and numbers."""

from pathlib import Path

import typer


def stats(
    corpus_dir: Path = typer.Argument(help="Corpus that convert wrote"),
    output_dir: Path = typer.Argument(
        help="Folder for stats.html, stats.json and the figures; an earlier one is "
        "replaced"
    ),
    backbone: Path | None = typer.Option(
        None,
        help="Backbone folder, whose concept encoder lays out the map of concepts; "
        "without it their spelling does",
    ),
) -> None:
    """Count annotations and concepts, and draw them."""
    from wasabi import msg

    from ..stats.counts import PUBLISHED, count_corpus
    from ..stats.page import FIGURES, PAGE, mapped_names, write_stats

    counted = count_corpus(corpus_dir)
    vectors = None
    if backbone is not None:
        from ..encoders.concept_encoder import ConceptEncoder

        encoder = ConceptEncoder.from_folder(backbone)
        vectors = encoder.encode(mapped_names(counted))
    title = corpus_dir.resolve().name
    summary = write_stats(counted, output_dir, title=title, vectors=vectors)
    rows = []
    for key, name, form in FIGURES:
        values = (summary[key], PUBLISHED.get(key))
        rows.append((name, *("" if v is None else form.format(v) for v in values)))
    msg.table(rows, header=("", "this corpus", "NuNER"), aligns=("l", "r", "r"))
    msg.good(f"Page, figures and numbers: {output_dir / PAGE}")
