"""`spacy nuner average`: several runs of a pre-training -> one backbone."""

from pathlib import Path

import typer


def average(
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
    import shlex

    from wasabi import msg

    from ..pretrain.average import average_backbones

    arguments = map(str, [*backbones, output_dir])
    command = shlex.join(["spacy", "nuner", "average", *arguments])
    info = average_backbones(backbones, output_dir, command=command)
    msg.good(f"Backbone in {output_dir}: the mean of {info.training['averaged']} runs")
