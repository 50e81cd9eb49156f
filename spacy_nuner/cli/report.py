"""`spacy nuner report`: tables and figures of measured results."""

from pathlib import Path

import typer

from ._util import msg


def report_cli(
    metrics: Path = typer.Argument(
        ...,
        help="Results: cells of `fewshot` and `zero-shot` anywhere in it, and in "
        "heads/ what `spacy evaluate --output` wrote (<backbone>-<head>.json or "
        "<backbone>-<head>/draw<d>.json)",
    ),
    output: Path = typer.Argument(..., help="Where report.md and figures go"),
    base: str = typer.Option("base", help="The backbone that gains are over"),
) -> None:
    """Write a Markdown report with figures (PNG and SVG) from results alone."""
    for path in report(metrics, output, base=base):
        msg.good(str(path))


def report(metrics: Path, output: Path, *, base: str = "base") -> list[Path]:
    """Write a Markdown report with figures from results alone.

    metrics (Path): Results: cells anywhere in it, and in heads/ what `spacy evaluate
        --output` wrote.
    output (Path): Where report.md and figures go.
    base (str): The backbone that gains are over.
    RETURNS (list[Path]): What was written.
    RAISES (NunerError): What `write_report` raises.
    """
    from ..fewshot.report import write_report

    return write_report(metrics, output, base=base)
