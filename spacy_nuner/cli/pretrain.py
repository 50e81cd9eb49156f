"""`spacy nuner pretrain`: a corpus of concepts -> a backbone folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ._util import msg

if TYPE_CHECKING:
    from thinc.api import Config

    from ..encoders.folder import BackboneInfo
    from ..fewshot.probe import SetProbe
    from ..pretrain.estimate import Estimate
    from ..pretrain.settings import EvaluationSettings


def pretrain_cli(
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
    gpu_id: int = typer.Option(-1, "--gpu-id", "-g", help="GPU to use, -1 is the CPU"),
    n_process: int = typer.Option(
        1, help="How many processes make the features; the output is the same", min=1
    ),
    resume: bool = typer.Option(
        False,
        "--resume",
        help="Go on from the last checkpoint of a run that broke off, if there is one",
    ),
    dry_run: bool = typer.Option(
        False,
        "--dry-run",
        help="Time some steps and show how long the run takes, or with --resume what "
        "is left of it; train nothing",
    ),
    price_per_hour: float = typer.Option(
        0.0, help="Of the machine: a dry run shows what the run costs", min=0
    ),
) -> None:
    """Pre-train an encoder by contrast on entity concepts.

    Settings are overridden as in `spacy train`: --paths.corpus DIR gives the corpus
    that `spacy nuner convert` made, --training.epochs 3 the length of the run.
    """
    from spacy.cli._util import parse_config_overrides

    # Before the parser takes the arguments out of the list.
    arguments = [str(config_path), str(output_dir), *ctx.args]
    if code_path is not None:
        arguments += ["--code", str(code_path)]
    if gpu_id >= 0:
        arguments += ["--gpu-id", str(gpu_id)]
    if price_per_hour and not dry_run:
        raise typer.BadParameter(
            "give --dry-run too, which shows it", param_hint="--price-per-hour"
        )
    settings: dict[str, Any] = {
        "overrides": parse_config_overrides(ctx.args),
        "code_path": code_path,
        "gpu_id": gpu_id,
        "n_process": n_process,
        "resume": resume,
        "command": shlex.join([*_launcher(), "pretrain", *arguments]),
    }
    if dry_run:
        found = estimate(config_path, output_dir, **settings)
        if found is not None:
            _show_estimate(found, price_per_hour)
        return
    info = pretrain(config_path, output_dir, **settings)
    if info is None:
        return
    data = info.data
    msg.good(
        f"Backbone in {output_dir}: {data['mentions']:,} mentions of "
        f"{data['concepts']:,} concepts in {data['sentences']:,} sentences, "
        f"{info.training['steps']:,} steps, loss {info.training['final_loss']}"
    )
    lost = ", ".join(
        f"{key.replace('_', ' ')}: {data[key]:,}"
        for key in ("mentions_without_pieces", "mentions_cut", "texts_cut")
        if data[key]
    )
    if lost:
        msg.warn(f"Not all went in whole: {lost} (see nuner.json)")


def pretrain(
    config_path: Path,
    output_dir: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    code_path: Path | None = None,
    gpu_id: int = -1,
    n_process: int = 1,
    resume: bool = False,
    command: str = "",
) -> BackboneInfo | None:
    """Pre-train a backbone as its config says.

    config_path (Path): The config file; what it leaves out has its default.
    output_dir (Path): The backbone folder to make.
    overrides (Mapping[str, Any] | None): Values by dotted name ("training.epochs").
    code_path (Path | None): Python file that registers functions of the config.
    gpu_id (int): The GPU to use, -1 is the CPU.
    n_process (int): How many processes make the features.
    resume (bool): Whether to go on from the last checkpoint of a run that broke off, if
        there is one.
    command (str): The command line, for the record and for the advice on how to go on.
    RETURNS (BackboneInfo | None): What went into `nuner.json`; None in the processes
        of a distributed run that are not the first.
    RAISES (NunerError): What `read_config` and `spacy_nuner.pretrain.run.pretrain`
        raise.
    """
    from ..pretrain.run import pretrain as run

    config, probe = _read(config_path, output_dir, overrides, code_path)
    return run(
        config,
        output_dir,
        probe=probe,
        gpu_id=gpu_id,
        resume=resume,
        n_process=n_process,
        command=command,
    )


def estimate(
    config_path: Path,
    output_dir: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    code_path: Path | None = None,
    gpu_id: int = -1,
    n_process: int = 1,
    resume: bool = False,
    command: str = "",
) -> Estimate | None:
    """Find out how long `pretrain` with the same arguments takes.

    config_path, output_dir, overrides, code_path, gpu_id, n_process, resume, command:
        As for `pretrain`.
    RETURNS (Estimate | None): What is left of the run; None if nothing is, and in the
        processes of a distributed run that are not the first.
    RAISES (NunerError): What `pretrain` raises.
    """
    from ..pretrain.estimate import estimate as run

    config, probe = _read(config_path, output_dir, overrides, code_path)
    return run(
        config,
        output_dir,
        probe=probe,
        gpu_id=gpu_id,
        resume=resume,
        n_process=n_process,
        command=command,
    )


def _read(
    config_path: Path,
    output_dir: Path,
    overrides: Mapping[str, Any] | None,
    code_path: Path | None,
) -> tuple[Config, SetProbe | None]:
    """Read the config and make the probe that it names."""
    from spacy.cli._util import import_code

    from ..outputs import check_output
    from ..pretrain.settings import read_config, resolve_settings

    given = [config_path] if code_path is None else [config_path, code_path]
    check_output(output_dir, inputs=given, folder=True, replaced=True)
    import_code(code_path)
    config = read_config(config_path, overrides)
    return config, _make_probe(resolve_settings(config).evaluation)


def _show_estimate(found: Estimate, price_per_hour: float) -> None:
    from datetime import timedelta

    def show(seconds: float) -> str:
        return str(timedelta(seconds=round(seconds)))

    rows = [
        ("steps", f"{found.steps:,}", f"{found.texts_per_second:,.0f} sentences/s"),
        ("training", show(found.training), f"by {found.timed:,} of them"),
    ]
    for name, count, seconds in (
        ("evaluations", found.evaluations, found.evaluation),
        ("checkpoints", found.checkpoints, found.checkpoint),
    ):
        if count:
            rows.append((name, show(seconds), f"{count:,} of {seconds / count:.1f} s"))
    rows.append(("in all", show(found.seconds), f"give or take {show(found.error)}"))
    if price_per_hour:
        cost = found.seconds / 3600 * price_per_hour
        rows.append(("cost", f"{cost:,.2f}", f"at {price_per_hour:g} an hour"))
    if found.memory is not None:
        rows.append(("memory", f"{found.memory / 1e9:,.1f} GB", "at the largest step"))
    rows.append(("disk", f"{found.disk / 1e9:,.1f} GB", "while it runs"))
    done = f" (done: {found.done:,})" if found.done else ""
    msg.info(f"{found.texts:,} sentences an epoch{done}. What is left takes about:")
    msg.table(rows, aligns=("l", "r", "l"))


def _launcher() -> list[str]:
    """What starts the command; `accelerate launch` starts what torchrun does."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return ["spacy", "nuner"]
    machines = os.environ.get("GROUP_WORLD_SIZE", "1")
    return [
        "torchrun",
        *(["--nnodes", machines] if machines != "1" else []),
        *("--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"]),
        *("-m", "spacy_nuner"),
    ]


def _make_probe(evaluation: EvaluationSettings) -> SetProbe | None:
    """The probe on the set that the config names; `pretrain/` knows no `fewshot/`."""
    from ..fewshot.probe import SetProbe

    train, dev = evaluation.probe_train, evaluation.probe_dev
    if train is None or dev is None or not evaluation.every_steps:
        return None
    k, draws = evaluation.probe_k, evaluation.probe_draws
    # Its texts may be in any language; most sets hold words.
    return SetProbe.from_files(train, dev, lang="xx", k=k, draws=draws)
