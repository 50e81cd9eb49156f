"""`spacy nuner report`: tables and figures of measured results."""

from pathlib import Path

import typer


def report(
    metrics_dir: Path = typer.Argument(
        ...,
        help="Results: cells of `fewshot` anywhere in it, and in heads/ what `spacy "
        "evaluate --output` wrote (<backbone>-<head>.json or "
        "<backbone>-<head>/draw<d>.json)",
    ),
    output_dir: Path = typer.Argument(..., help="Where report.md and figures go"),
    base: str = typer.Option("base", help="The backbone that gains are over"),
) -> None:
    """Write a Markdown report with figures (PNG and SVG) from results alone."""
    from wasabi import msg

    from ..fewshot.report import write_report

    for path in write_report(metrics_dir, output_dir, base=base):
        msg.good(str(path))
