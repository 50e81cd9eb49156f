"""`spacy nuner average`: several runs of a pre-training -> one backbone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ._util import msg

if TYPE_CHECKING:
    from ..encoders.folder import BackboneInfo


def average_cli(
    backbones: list[Path] = typer.Argument(
        ..., help="Backbone folders that differ in their seed", show_default=False
    ),
    output_dir: Path = typer.Argument(
        ...,
        help="Backbone folder to make; one made by this command is replaced",
        show_default=False,
    ),
) -> None:
    """Average the weights of several runs of one pre-training.

    The mean is a little better than one of them on average, and as fast.
    """
    info = average(backbones, output_dir)
    msg.good(f"Backbone in {output_dir}: the mean of {info.training['averaged']} runs")


def average(backbones: Sequence[Path], output_dir: Path) -> BackboneInfo:
    """Average the weights of several runs of one pre-training.

    backbones (Sequence[Path]): Backbone folders that differ in their seed.
    output_dir (Path): The backbone folder to make.
    RETURNS (BackboneInfo): What went into its `nuner.json`.
    RAISES (NunerError): What `average_backbones` raises.
    """
    from ..pretrain.average import average_backbones

    arguments = map(str, [*backbones, output_dir])
    command = shlex.join(["spacy", "nuner", "average", *arguments])
    return average_backbones(backbones, output_dir, command=command)
