"""Which backbones are compared, and which of their layers are read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from ..errors import NunerError
from ..files import hash_file
from ..pretrain.backbone import read_info, recommended_layers
from ..weights import resolve_weights


@dataclass(frozen=True)
class Backbone:
    """An encoder under comparison.

    label: What tables and folders call it.
    source: A folder or a hub name, for `load_encoder`.
    identity: Its name, and the SHA-256 of its weights or the hub's commit.
    layers: Layer set -> hidden layers, -1 being the last.
    """

    label: str
    source: str
    identity: dict[str, str]
    layers: dict[str, list[int]]


def describe_backbones(
    names: Sequence[str], *, labels: Sequence[str], layer_sets: Sequence[str]
) -> list[Backbone]:
    """Look at the encoders to compare without loading their weights.

    The layer set "last" is the last layer; "both" is the last and the middle one:
    what `nuner.json` recommends, else half the depth, as NuMind's model cards have it
    (-1 and -7 of 12 layers). Encoders of one depth are read at the same layers, the
    first recommendation for all, so that none gains by the choice of layers.

    names (Sequence[str]): Encoders in any form that `resolve_weights` takes.
    labels (Sequence[str]): What to call them; made from the names if empty.
    layer_sets (Sequence[str]): "last", "both", or layers such as "-1,-4".
    RETURNS (List[Backbone]): One a name, in the same order.
    RAISES (NunerError): N001 or N002 if one can't be found, N621 if the labels don't
        fit, N622 if a layer set is not understood or a layer does not exist.
    """
    labels = list(labels) or [_make_label(name) for name in names]
    fit = all(re.fullmatch(r"\w[\w.+-]*", label) for label in labels)
    if not fit or len(labels) != len(names) or len(set(labels)) < len(labels):
        raise NunerError("N621", count=len(names), found=", ".join(labels))
    sources = [resolve_weights(name) for name in names]
    configs = [_load_config(source) for source in sources]
    both: dict[int, list[int]] = {}
    # Encoders that are backbones come first: their recommendation counts.
    order = sorted(range(len(sources)), key=lambda i: read_info(sources[i]) is None)
    for i in order:
        depth = configs[i].num_hidden_layers
        recommended = recommended_layers(sources[i], depth)
        if len(recommended) > 1:
            both.setdefault(depth, recommended)
    backbones = []
    for label, name, source, config in zip(
        labels, names, sources, configs, strict=True
    ):
        depth = config.num_hidden_layers
        known = {"last": [-1], "both": both.get(depth, [-1, -1 - depth // 2])}
        layers = {text: known.get(text) or _parse_layers(text) for text in layer_sets}
        for text, indices in layers.items():
            if not indices or not all(-depth - 1 <= index < 0 for index in indices):
                raise NunerError("N622", found=text, name=name, depth=depth)
        identity = {"name": name, **_identify(source, config)}
        backbones.append(Backbone(label, source, identity, layers))
    return backbones


def _make_label(name: str) -> str:
    """`package:NAME/model` -> NAME, `numind/NuNER-v2.0` -> NuNER-v2.0."""
    parts = [part for part in re.split(r"[:/\\]", name) if part.strip(".~")]
    if len(parts) > 1 and parts[-1] == "model":
        parts.pop()
    return parts[-1] if parts else name


def _load_config(source: str) -> Any:
    try:
        return AutoConfig.from_pretrained(source)
    except OSError as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise NunerError("N001", name=source, reason=reason) from error


def _parse_layers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        return []


def _identify(source: str, config: Any) -> dict[str, str]:
    weights = sorted(Path(source).glob("*.safetensors"))
    if weights:
        return {"sha256": " ".join(hash_file(path) for path in weights)}
    return {"commit": str(getattr(config, "_commit_hash", None))}
