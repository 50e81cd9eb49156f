"""Results: the cells of a comparison, scores of trained heads, and their tables."""

import json
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import inf
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final, Literal, NamedTuple, Self

from ..errors import Errors, NunerError, Warnings
from ..files import write_whole

AVERAGE = "average"
# Settings that all draws of a curve share, and those of a draw that all curves share.
OF_DATA = ("train", "test", "only", "lang")
OF_CURVE = ("encoder", "hidden_layers", *OF_DATA, "precision", "l2")
OF_DRAW = (*OF_DATA, "docs")
# Settings that all draws of one point of a curve share, and those of all backbones
# that one head was trained on.
OF_POINT = ("training", "names", "architecture", "threshold", "test_sentences")
OF_HEAD = ("training", "names", "architecture")
# Mentions of each label, or the whole set, whose labels have as many as there are.
ALL: Final = "all"
K = int | Literal["all"]
METRICS = {"macro_token_f": "macro token F1", "ents_f": "entity F1"}
LAYER_TITLES = {"last": "last layer", "both": "last + middle layer"}
ABSENT = "–"
HEADS = "heads"
SCORES = ("ents_p", "ents_r", "ents_f")
# Counts from here on are a mistake, and no figure has room for them.
MOST = 10**12


@dataclass(frozen=True)
class Cell:
    """What one encoder scored with one draw; planned first, then with its scores.

    dataset, backbone, layers (str): What it is of; `layers` names a layer set.
    k (int | "all"): Mentions of each label, 0 for none; "all" for the whole set.
    draw (int): Number of the draw.
    sentences, tokens (int): The size of the draw.
    mentions (dict[str, int]): Label -> mentions that the draw has of it.
    settings (dict[str, Any]): Whatever else the scores depend on, as JSON has it.
    scores (dict[str, Any]): As `Gold.score_ents` gives them.
    seconds (float): How long it took, without the embedding.
    protocol (str): How the draw was made: "probe" for the mentions of the frozen probe,
        else one of `draws.PROTOCOLS`.
    head (str): What was fitted to it: "probe", or one of `heads.HEADS`. Of others than
        the probe `layers` says protocol, head, and whether the encoder is tuned.
    versions (dict[str, str]): Packages with their versions.
    """

    dataset: str
    backbone: str
    layers: str
    k: K
    draw: int
    sentences: int
    mentions: dict[str, int]
    settings: dict[str, Any]
    tokens: int = 0
    scores: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    protocol: str = "probe"
    head: str = "probe"
    versions: dict[str, str] = field(default_factory=dict)

    def _get_path(self, root: Path) -> Path:
        folder = root / self.dataset / self.backbone / self.layers
        return folder / f"k{self.k}" / f"draw{self.draw}.json"

    def to_disk(self, root: Path) -> None:
        """Write the cell as a flat JSON object.

        root (Path): The folder of all results, for
            `dataset/backbone/layers/k<k>/draw<d>.json`.
        """
        content = asdict(self)
        content |= content.pop("scores")
        write_whole(self._get_path(root), json.dumps(content, indent=1))

    @classmethod
    def from_disk(cls, path: Path) -> Self:
        """Read a cell. RAISES (NunerError): N631 if the file is something else."""
        own = {one.name for one in fields(cls)} - {"scores"}
        # What earlier versions did not write.
        later = {"tokens", "seconds", "protocol", "head", "versions"}
        needed = sorted(own - later)
        content = read_json(path, [*needed, *METRICS], shares=METRICS)
        shown = [key for key in sorted(own) if key in content]
        for key in filter(lambda key: not _can_be_shown(content, key), shown):
            reason = f"'{key}' is {json.dumps(content[key])[:80]}"
            raise NunerError(Errors.N631, path=path, key=key, reason=reason)
        scores = {key: content.pop(key) for key in list(content) if key not in own}
        return cls(**content, scores=scores)

    def find_finished(self, root: Path) -> Self | None:
        """Find the cell if it was computed before.

        root (Path): The folder of all results.
        RETURNS (Cell | None): The cell with its scores; None if it is not there, or was
            made with other settings.
        """
        path = self._get_path(root)
        if not path.is_file():
            return None
        found = type(self).from_disk(path)
        if ignore_names(found.settings) == ignore_names(self.settings):
            return found
        one, other = _get_compared(found.settings), _get_compared(self.settings)
        if any(one.get(name) != other.get(name) for name in ("train", "test")):
            folder = root / self.dataset
            warnings.warn(Warnings.W607.format(path=folder), stacklevel=2)
        return None


def read_cells(root: Path) -> list[Cell]:
    """Read every cell below a folder.

    root (Path): The folder, such as the output of `fewshot`. Hidden folders in it hold
        no results.
    RETURNS (list[Cell]): The cells, ordered by path; of files with the same settings
        the first.
    RAISES (NunerError): N629 if there are two of one experiment with different
        settings, or draws of one curve with another encoder, other files or another
        training, or backbones with other draws, labels or trainings of a head; N631 if
        a file is no cell.
    """
    if not os.path.isdir(root):
        return []
    paths = [
        path
        for name in ("k[0-9]*", f"k{ALL}")
        for path in root.glob(f"**/{name}/draw*.json")
    ]
    found: dict[tuple[Any, ...], tuple[Path, Cell]] = {}
    # What is averaged, and what is compared: the first of each.
    curves, draws, points, heads = (dict(found) for _ in range(4))
    for path in sorted(paths):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        cell = Cell.from_disk(path)
        key = (cell.protocol, cell.dataset, cell.backbone, cell.layers)
        draw = (cell.protocol, cell.dataset, cell.k, cell.draw)
        head = (cell.protocol, cell.dataset, cell.layers, cell.k)
        same = found.setdefault((*key, cell.k, cell.draw), (path, cell))
        _check_same(same, (path, cell))
        for first, names in (
            (curves.setdefault(key, (path, cell)), OF_CURVE),
            (draws.setdefault(draw, (path, cell)), OF_DRAW),
            (points.setdefault((*key, cell.k), (path, cell)), OF_POINT),
            (heads.setdefault(head, (path, cell)), OF_HEAD if cell.k else ()),
        ):
            _check_same(first, (path, cell), names)
    return [cell for _, cell in found.values()]


def _check_same(
    first: tuple[Path, Cell],
    second: tuple[Path, Cell],
    names: Sequence[str] | None = None,
) -> None:
    """Raise N629 if two cells differ in settings of these names, where both have them;
    None for all settings."""
    one, other = (cell.settings for _, cell in (first, second))
    if names is None:
        found = {name for name in {*one, *other} if one.get(name) != other.get(name)}
    else:
        one, other = _get_compared(one), _get_compared(other)
        both = one.keys() & other.keys() & set(names)
        found = {name for name in both if one[name] != other[name]}
    if found:
        raise NunerError(
            Errors.N629,
            first=first[0],
            second=second[0],
            differences=", ".join(sorted(found)),
        )


def _get_compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Weights and files go by their hashes alone: a folder may have two names."""
    compared = {name: settings[name] for name in settings if name != "encoder"}
    for part, key, name in (
        ("encoder", "sha256", "encoder"),
        ("data", "train", "train"),
        ("data", "test", "test"),
        ("data", "lang", "lang"),
    ):
        section = settings.get(part)
        if isinstance(section, Mapping) and key in section:
            compared[name] = section[key]
    if isinstance(data := settings.get("data"), Mapping):
        # Where it is not there, all labels count.
        compared["only"] = data.get("only", "")
    return compared


def ignore_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): Settings in which an encoder goes by its hash alone, if
    it has one: a folder may have two names."""
    encoder = settings.get("encoder")
    if not isinstance(encoder, Mapping) or "sha256" not in encoder:
        return dict(settings)
    known = {key: value for key, value in encoder.items() if key != "name"}
    return {**settings, "encoder": known}


def _can_be_shown(content: dict[str, Any], key: str) -> bool:
    """Whether a value of a cell has the form that a report shows."""
    value = content[key]
    if key in ("dataset", "backbone", "layers", "protocol", "head"):
        return isinstance(value, str)
    if key in ("k", "draw", "sentences", "tokens"):
        return _is_count(value) or (key, value) == ("k", ALL)
    if key == "seconds":
        return isinstance(value, int | float)
    if not isinstance(value, dict):
        return False
    if key == "versions":
        return all(isinstance(version, str) for version in value.values())
    if key == "mentions":
        return all(map(_is_count, value.values()))
    encoder, names = value.get("encoder"), value.get("names", {})
    if not isinstance(encoder, dict) or not isinstance(names, dict):
        return False
    words = [encoder.get("name"), encoder.get("sha256", encoder.get("commit", ""))]
    for meaning in names.values() if content["k"] == 0 else ():
        shown = meaning if isinstance(meaning, dict) else {}
        words += [shown.get("name"), shown.get("description") or ""]
    return (
        isinstance(value.get("hidden_layers"), list)
        and all(isinstance(word, str) for word in words)
        and (content["k"] != 0 or {"names", "threshold"} <= set(value))
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST


def read_json(
    path: Path, keys: Sequence[str], *, shares: Iterable[str] = ()
) -> dict[str, Any]:
    """Read a JSON object.

    path (Path): The file.
    keys (Sequence[str]): What it must have, one or more.
    shares (Iterable[str]): Those of them that are from 0 to 1; null is 0.
    RETURNS (dict[str, Any]): The object.
    RAISES (NunerError): N631 if the file is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NunerError(Errors.N631, path=path, key=keys[0], reason=error) from error
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            reason = f"it has no '{key}'"
            raise NunerError(Errors.N631, path=path, key=key, reason=reason)
    for key in shares:
        # spaCy writes null where there was nothing to score.
        share = 0.0 if content.get(key) is None else content[key]
        content[key] = share
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            reason = f"'{key}' is {json.dumps(share)[:80]}"
            raise NunerError(Errors.N631, path=path, key=key, reason=reason)
    return dict(content)


def rank_k(k: K) -> float:
    """RETURNS (float): What to sort by, the whole set last."""
    return inf if k == ALL else k


def title_k(k: K) -> str:
    """RETURNS (str): What tables call it, such as "k=4" or "all"."""
    return ALL if k == ALL else f"k={k}"


class Point(NamedTuple):
    """Mean and sample standard deviation (None for a single draw) over n draws."""

    mean: float
    std: float | None
    n: int


def _summarise(values: Iterable[float]) -> Point:
    values = list(values)
    return Point(mean(values), stdev(values) if len(values) > 1 else None, len(values))


class Curves:
    """Learning curves: points by data set, layers and backbone, over k."""

    def __init__(self, cells: Iterable[Cell], metric: str) -> None:
        """Sort the scores of cells.

        cells (Iterable[Cell]): The cells.
        metric (str): A score of theirs, such as "macro_token_f".
        """
        # (layers, backbone, k) -> data set -> draw -> value
        self._values: dict[tuple[str, str, K], dict[str, dict[int, float]]] = (
            defaultdict(lambda: defaultdict(dict))
        )
        for cell in cells:
            key = (cell.layers, cell.backbone, cell.k)
            self._values[key][cell.dataset][cell.draw] = cell.scores[metric]
        self.datasets = sorted(
            {name for sets in self._values.values() for name in sets}
        )
        # Sets that are known by names alone have no curve: a mean over them and others
        # would be of other sets at each k.
        drawn = {name for (_, _, k), sets in self._values.items() if k for name in sets}
        self.averaged = sorted(drawn) or self.datasets
        self.layers = sorted({layers for layers, _, _ in self._values})
        self.backbones = sorted({backbone for _, backbone, _ in self._values})
        self.ks = sorted({k for _, _, k in self._values}, key=rank_k)

    def point(self, dataset: str, layers: str, backbone: str, k: K) -> Point | None:
        """Look up a point.

        dataset (str): A data set, or `AVERAGE` for the mean over `averaged`: all sets
            that have a curve.
        layers (str): A layer set.
        backbone (str): A backbone.
        k (int | "all"): Mentions a label.
        RETURNS (Point | None): None if it was not measured; for the average, if it was
            not measured with the same draws on every data set.
        """
        sets = self._values.get((layers, backbone, k), {})
        if dataset != AVERAGE:
            values = sets.get(dataset)
            return _summarise(values.values()) if values else None
        if not set(self.averaged) <= sets.keys():
            return None
        draws = {frozenset(sets[name]) for name in self.averaged}
        if len(draws) != 1:
            return None
        # The mean over data sets first: the spread is that of the average over draws.
        return _summarise(
            mean(sets[name][draw] for name in self.averaged) for draw in draws.pop()
        )


def read_heads(root: Path) -> dict[str, dict[str, Point]]:
    """Read the scores of every head.

    root (Path): The folder of metrics. `heads/<name>.json` is a head that was trained
        once, `heads/<name>/draw<d>.json` one that was trained on several draws. A name
        is `<backbone>-<head>`, such as `nuner-ner`; the head has no hyphen.
    RETURNS (dict[str, dict[str, Point]]): Name -> score -> its mean and spread.
    RAISES (NunerError): N631 if a file has no entity scores.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    if not os.path.isdir(root / HEADS):
        return {}
    for path in sorted((root / HEADS).glob("*.json")):
        files[path.stem].append(path)
    for path in sorted((root / HEADS).glob("*/draw*.json")):
        files[path.parent.name].append(path)
    heads = {}
    for name, paths in sorted(files.items()):
        scores = [read_json(path, SCORES[-1:], shares=SCORES) for path in paths]
        heads[name] = {
            key: _summarise(score[key] for score in scores) for key in SCORES
        }
    return heads


def get_backbone(head: str) -> str:
    """RETURNS (str): The backbone of a head: "nuner" of "nuner-ner"."""
    return head.rpartition("-")[0]


def title_layers(layers: str) -> str:
    """RETURNS (str): A layer set in words, such as "last layer"; of a head what it is,
    such as "mentions-linear-tuned".
    """
    if re.fullmatch(r"[-+\d]+", layers):
        return f"layers {layers}"
    return LAYER_TITLES.get(layers, layers)


def format_point(point: Point | None) -> str:
    """RETURNS (str): Mean and standard deviation in percent, such as "48.7 ± 2.1"."""
    if point is None:
        return ABSENT
    spread = "" if point.std is None else f" ± {100 * point.std:.1f}"
    return f"{100 * point.mean:.1f}{spread}"


def format_gain(point: Point | None, base: Point | None) -> str:
    """RETURNS (str): Difference of two means in points, such as "+11.0"."""
    if point is None or base is None:
        return ABSENT
    return f"{100 * (point.mean - base.mean):+.1f}"


def curve_table(
    curves: Curves,
    dataset: str,
    layers: str,
    backbones: Sequence[str],
    *,
    base: str | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Lay out the learning curves of one data set and layer set.

    curves (Curves): The points.
    dataset (str): A data set, or `AVERAGE`.
    layers (str): A layer set.
    backbones (Sequence[str]): The backbones; what was not measured has no row.
    base (str | None): What gains are over; None for the first backbone.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows: a column for each k;
        below each backbone but the base its gain, if the base was measured.
    """
    base = base or backbones[0]
    rows = []
    found = {
        backbone: [curves.point(dataset, layers, backbone, k) for k in curves.ks]
        for backbone in [base, *backbones]
    }
    for backbone in backbones:
        if not any(found[backbone]):
            continue
        rows.append([backbone, *map(format_point, found[backbone])])
        if backbone != base and any(found[base]):
            gains = map(format_gain, found[backbone], found[base])
            rows.append([f"gain over {base}", *gains])
    return ["backbone", *map(title_k, curves.ks)], rows


def protocol_table(
    curves: Curves, dataset: str, backbones: Sequence[str], *, base: str
) -> tuple[list[str], list[list[str]]]:
    """Lay out the learning curves of all heads on one data set.

    curves (Curves): The points.
    dataset (str): A data set, or `AVERAGE`.
    backbones (Sequence[str]): The backbones.
    base (str): What gains are over, those of the same head.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows: as `curve_table`, head
        by head.
    """
    rows = []
    for layers in curves.layers:
        _, own = curve_table(curves, dataset, layers, backbones, base=base)
        rows += [[name, title_layers(layers), *points] for name, *points in own]
    return ["backbone", "head", *map(title_k, curves.ks)], rows


def heads_table(
    heads: Mapping[str, Mapping[str, Point]], base: str
) -> tuple[list[str], list[list[str]]]:
    """Lay out the scores of trained heads.

    heads (Mapping[str, Mapping[str, Point]]): What `read_heads` gave.
    base (str): The backbone that gains are over.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows: precision, recall and
        F1, and the gain in F1 over each head of the base.
    """
    rivals = [name for name in heads if get_backbone(name) == base]
    rows = []
    for name, scores in heads.items():
        gains = [
            ""
            if name == rival
            else format_gain(scores["ents_f"], heads[rival]["ents_f"])
            for rival in rivals
        ]
        rows.append([name, *(format_point(scores[key]) for key in SCORES), *gains])
    header = ["backbone-head", "precision", "recall", "F1"]
    return [*header, *(f"gain over {rival}" for rival in rivals)], rows
