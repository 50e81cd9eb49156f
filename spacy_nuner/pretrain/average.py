"""Several runs of one recipe -> one backbone with the mean of their weights.

Runs from the same base encoder end near to each other, and the mean of their weights
is better than one of them on average (Wortsman et al. 2022,
https://arxiv.org/abs/2203.05482): a vote of all of them at the cost of one.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..encoders.card import model_card
from ..encoders.folder import (
    CONCEPT_ENCODER,
    INFO_FILE,
    BackboneInfo,
    load_background,
    read_whole_info,
    save_backbone,
)
from ..encoders.layers import load_encoder
from ..encoders.safety import describe
from ..errors import Errors, NunerError
from ..outputs import write_folder
from ..utf8 import check_utf8
from .corpus_vectors import COUNT

# What all runs have in common, or a mean of their weights means nothing.
SAME = (
    "pooling",
    "template",
    "max_concept_length",
    "frozen_layers",
    "hidden_layers",
)


def average_backbones(
    folders: Sequence[Path], output: Path, *, command: str = ""
) -> BackboneInfo:
    """Write a backbone whose weights are the mean of those of others.

    folders (Sequence[Path]): Backbone folders of runs from the same base encoder on the
        same corpus, with other seeds or rates.
    output (Path): The backbone folder to make; one made earlier is replaced.
    command (str): The command line, for the record.
    RETURNS (BackboneInfo): What went into its `nuner.json`.
    RAISES (NunerError): N303 for a `nuner.json` that leaves out what was trained, N304
        for a folder that is no whole backbone, N318 if two of them don't belong
        together, N319 if there are fewer than two, N053 if the name of the output is
        not UTF-8; what `write_folder` raises.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise NunerError(Errors.N319, found=", ".join(map(str, folders)))
    check_utf8(output, "the folder of the backbone")
    with write_folder(output, command="average", inputs=folders) as work:
        infos = [read_whole_info(folder) for folder in folders]
        for folder, info in zip(folders, infos, strict=True):
            for key in SAME:
                pair = getattr(info, key), getattr(infos[0], key)
                _check_same(folder, folders[0], key, *pair)
            for section in ("model", "objective"):
                chosen = [_get_section(one, section) for one in (info, infos[0])]
                _check_same(folder, folders[0], f"[{section}]", *chosen)
            # The same encoder may lie elsewhere, and another one under the same name.
            bases = [one.training.get("base_sha256") for one in (info, infos[0])]
            _check_same(folder, folders[0], "the base (training.base_sha256)", *bases)
            hashes = info.data.get("sha256"), infos[0].data.get("sha256")
            _check_same(folder, folders[0], "the corpus (data.sha256)", *hashes)
            try:
                model_card(asdict(_describe([info], command)))
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                reason, path = describe(error), folder / INFO_FILE
                raise NunerError(Errors.N303, path=path, reason=reason) from error
        tokenizer, text_encoder = load_encoder(folders[0])
        _, concept_encoder = load_encoder(folders[0] / CONCEPT_ENCODER)
        _average_into(text_encoder, folders)
        _average_into(concept_encoder, [folder / CONCEPT_ENCODER for folder in folders])
        info = _describe(infos, command)
        save_backbone(
            work.target,
            info,
            text_encoder=text_encoder,
            concept_encoder=concept_encoder,
            tokenizer=tokenizer,
            background=_mix([load_background(folder) for folder in folders]),
        )
    return info


def _get_section(info: BackboneInfo, name: str) -> dict[str, Any]:
    """The settings of a section; frozen layers are compared as they were resolved."""
    section = dict(info.settings.get(name) or {})
    section.pop("frozen_layers", None)
    return section


def _check_same(path: Path, first: Path, key: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise NunerError(
            Errors.N318,
            path=path,
            key=key,
            found=found,
            first=first,
            expected=expected,
        )


@torch.no_grad()
def _average_into(first: nn.Module, folders: Sequence[Path]) -> None:
    """Give the encoder of the first folder the mean of the weights of all."""
    sums = [weights.double() for weights in first.parameters()]
    shapes = [list(weights.shape) for weights in sums]
    for folder in folders[1:]:
        others = list(load_encoder(folder)[1].parameters())
        found = [list(weights.shape) for weights in others]
        for pair in zip_longest(found, shapes):
            _check_same(folder, folders[0], "the shape of a weight", *pair)
        for total, weights in zip(sums, others, strict=True):
            total += weights
    for total, weights in zip(sums, first.parameters(), strict=True):
        weights.copy_(total / len(folders))


def _mix(backgrounds: Sequence[np.ndarray]) -> Tensor:
    """Take as many vectors of ordinary text from each.

    The vectors of the averaged encoder for the same text differ little: on 600 texts
    the cosine to the mean of three runs is 0.998, and F1 with no example is the same.
    """
    share = -(-COUNT // len(backgrounds))
    mixed = np.concatenate([vectors[:share] for vectors in backgrounds])
    return torch.from_numpy(mixed).to(torch.bfloat16)


def _describe(infos: Sequence[BackboneInfo], command: str) -> BackboneInfo:
    runs = [
        {"seed": info.settings["training"]["seed"], **info.training} for info in infos
    ]
    losses = [run["final_loss"] for run in runs]
    return replace(
        infos[0],
        scale=float(np.mean([info.scale for info in infos])),
        bias=float(np.mean([info.bias for info in infos])),
        training={
            "averaged": len(runs),
            "steps": sum(run["steps"] for run in runs),
            "seconds": sum(run["seconds"] for run in runs),
            "final_loss": round(float(np.mean(losses)), 5),
            "base_sha256": infos[0].training.get("base_sha256"),
            "runs": runs,
        },
        command="\n".join([*(info.command for info in infos), command]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
