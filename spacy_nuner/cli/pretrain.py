"""`spacy nuner pretrain`: a corpus of concepts -> a backbone folder."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..fewshot.probe import SetProbe
    from ..pretrain.settings import Settings


def pretrain(
    ctx: typer.Context,
    config_path: Path = typer.Argument(
        ..., help="Config such as configs/pretrain.cfg", show_default=False
    ),
    output_dir: Path = typer.Argument(
        ...,
        help="Backbone folder to make; one made by this command is replaced",
        show_default=False,
    ),
    code_path: Path | None = typer.Option(
        None,
        "--code",
        "-c",
        help="Python file that registers functions named in the config",
    ),
    gpu_id: int = typer.Option(
        -1, "--gpu-id", "-g", help="GPU to use, -1 for the processor"
    ),
    n_process: int = typer.Option(
        1, help="How many processes make the features; the output is the same", min=1
    ),
    resume: bool = typer.Option(
        False, "--resume", help="Go on from the last checkpoint of a run that broke off"
    ),
) -> None:
    """Pre-train an encoder by contrast on entity concepts.

    Settings are overridden as in `spacy train`: --paths.corpus DIR gives the corpus
    that `spacy nuner convert` made, --training.epochs 3 the length of the run.
    """
    from importlib.util import find_spec

    from spacy.cli._util import import_code, parse_config_overrides
    from wasabi import msg

    from ..errors import Errors, NunerError

    for package in ("datasets", "accelerate"):
        if find_spec(package) is None:
            raise NunerError(Errors.N006, package=package, extra="pretrain")

    from ..pretrain.run import pretrain as run
    from ..pretrain.settings import read_config, resolve_settings

    # Written down before the parser takes the arguments out of the list.
    arguments = [str(config_path), str(output_dir), *ctx.args]
    if code_path is not None:
        arguments += ["--code", str(code_path)]
    if gpu_id >= 0:
        arguments += ["--gpu-id", str(gpu_id)]
    overrides = parse_config_overrides(ctx.args)
    import_code(code_path)
    config = read_config(config_path, overrides)
    info = run(
        config,
        output_dir,
        probe=_make_probe(resolve_settings(config)),
        gpu_id=gpu_id,
        resume=resume,
        n_process=n_process,
        command=shlex.join([*_launcher(), "pretrain", *arguments]),
    )
    if info is None:
        return
    data = info.data
    msg.good(
        f"Backbone in {output_dir}: {data['mentions']:,} mentions of "
        f"{data['concepts']:,} concepts in {data['sentences']:,} sentences, "
        f"{info.training['steps']:,} steps, loss {info.training['final_loss']}"
    )
    lost = {
        key: count
        for key in ("mentions_without_pieces", "mentions_cut", "texts_cut")
        if (count := data[key])
    }
    if lost:
        told = ", ".join(f"{key.replace('_', ' ')}: {n:,}" for key, n in lost.items())
        msg.warn(f"Not all went in whole: {told} (see nuner.json)")


def _launcher() -> list[str]:
    """What stands before the name of the command, as far as a process can know."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return ["spacy", "nuner"]
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        return ["accelerate", "launch", "-m", "spacy_nuner"]
    machines = os.environ.get("GROUP_WORLD_SIZE", "1")
    return [
        "torchrun",
        *(["--nnodes", machines] if machines != "1" else []),
        *("--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"]),
        *("-m", "spacy_nuner"),
    ]


def _make_probe(settings: "Settings") -> "SetProbe | None":
    """The probe on the set that the config names; it may import what pretrain can't."""
    from ..fewshot.probe import SetProbe

    paths, watch = settings.paths, settings.watch
    if paths.probe_train is None or paths.probe_dev is None or not watch.every_steps:
        return None
    return SetProbe.from_files(
        paths.probe_train,
        paths.probe_dev,
        lang=watch.probe_lang,
        k=watch.probe_k,
        draws=watch.probe_draws,
    )
