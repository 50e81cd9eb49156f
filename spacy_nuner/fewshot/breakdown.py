"""Results type by type: F1, gains over the base, and which types are confused."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, TypeGuard

from .overlap import Overlap
from .results import ABSENT, ALL, AVERAGE, Cell, Curves, title_k

OUTSIDE = "O"
# Mentions of each label that a breakdown is of, or the nearest that was measured: few,
# as in what the authors of NuNER state of data efficiency.
REFERENCE = 4
MOST_PAIRS = 5


@dataclass(frozen=True)
class TypeRow:
    """Token F1 of a type with each backbone, from 0 to 1, as means over draws.

    dataset, label (str): The type.
    scores (dict[str, float]): Backbone -> F1.
    """

    dataset: str
    label: str
    scores: dict[str, float]

    def gain(self, base: str, backbone: str) -> float | None:
        """RETURNS (float | None): Gain over the base; None if one was not measured."""
        if base not in self.scores or backbone not in self.scores:
            return None
        return self.scores[backbone] - self.scores[base]


def choose_cells(cells: Sequence[Cell], base: str) -> list[Cell]:
    """Choose the cells that a breakdown is of.

    cells (Sequence[Cell]): The cells of one protocol.
    base (str): What gains are over.
    RETURNS (list[Cell]): Those of one k and one layer set or head: what the base has,
        then what most backbones have, then the last and the middle layer, then what
        has the best entity F1.
    """
    drawn = [cell for cell in cells if cell.k]
    if not drawn:
        return []
    sets: dict[str, list[Cell]] = defaultdict(list)
    for cell in drawn:
        sets[cell.layers].append(cell)

    def rank(layers: str) -> tuple[bool, int, bool, bool, float]:
        backbones = {cell.backbone for cell in sets[layers]}
        f = mean(cell.scores["ents_f"] or 0.0 for cell in sets[layers])
        standing = layers == "both", layers == "last"
        return base in backbones, len(backbones), *standing, f

    drawn = sets[max(sorted(sets), key=rank)]
    # On a logarithmic scale; whole sets only where there is nothing else.
    numbers = {cell.k for cell in drawn if isinstance(cell.k, int)}
    k = min(numbers, key=lambda k: (max(k / REFERENCE, REFERENCE / k), k), default=ALL)
    return [cell for cell in drawn if cell.k == k]


def list_types(cells: Iterable[Cell]) -> list[TypeRow]:
    """List the types of all data sets.

    cells (Iterable[Cell]): What `choose_cells` chose.
    RETURNS (list[TypeRow]): A row for each type of each data set, in that order.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for cell in cells:
        for label, score in _read_scores(cell).items():
            values[cell.dataset, label][cell.backbone].append(score)
    return [
        TypeRow(*key, {name: mean(scores) for name, scores in found.items()})
        for key, found in sorted(values.items())
    ]


def types_table(
    rows: Sequence[TypeRow],
    backbones: Sequence[str],
    overlap: Mapping[str, Mapping[str, Overlap]],
    *,
    base: str,
) -> tuple[list[str], list[list[str]]]:
    """Lay out the types, those that gain most first.

    rows (Sequence[TypeRow]): The types.
    backbones (Sequence[str]): The backbones.
    base (str): What gains are over, if it is one of them.
    overlap (Mapping): Data set -> label -> what the corpus has of it; may be empty.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows.
    """
    others = find_rivals(backbones, base)
    header = ["type", "data set"]
    header += ["in the corpus"] if overlap else []
    header += [*backbones, *(f"gain of {name}" for name in others)]
    table = []
    for row in sort_by_gain(rows, backbones, base=base):
        line = [row.label, row.dataset]
        if overlap:
            line.append(str(overlap.get(row.dataset, {}).get(row.label, ABSENT)))
        for name in backbones:
            score = row.scores.get(name)
            line.append(ABSENT if score is None else f"{100 * score:.1f}")
        for name in others:
            gain = row.gain(base, name)
            line.append(ABSENT if gain is None else f"{100 * gain:+.1f}")
        table.append(line)
    return header, table


def find_rivals(backbones: Sequence[str], base: str) -> list[str]:
    """RETURNS (list[str]): The backbones that may have gains: none without a base."""
    return [name for name in backbones if name != base] if base in backbones else []


def sort_by_gain(
    rows: Iterable[TypeRow], backbones: Sequence[str], *, base: str
) -> list[TypeRow]:
    """Sort types by what the first backbone after the base gains on it.

    rows (Iterable[TypeRow]): The types.
    backbones (Sequence[str]): The backbones.
    base (str): What gains are over, if it is one of them.
    RETURNS (list[TypeRow]): The largest gain first, what has none last.
    """
    others = find_rivals(backbones, base)

    def key(row: TypeRow) -> tuple[bool, float, str, str]:
        gain = row.gain(base, others[0]) if others else None
        return gain is None, -(gain or 0.0), row.dataset, row.label

    return sorted(rows, key=key)


def best_table(
    curves: Curves, backbones: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Lay out which layer set or head is best with how many examples.

    curves (Curves): The points of one protocol.
    backbones (Sequence[str]): The backbones.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows: for each data set and
        backbone the best at each k, with its mean.
    """
    rows = []
    datasets = [*([AVERAGE] if len(curves.averaged) > 1 else []), *curves.datasets]
    for dataset in datasets:
        for backbone in backbones:
            row = [dataset, backbone]
            for k in curves.ks:
                points = {
                    layers: point.mean
                    for layers in curves.layers
                    if (point := curves.point(dataset, layers, backbone, k))
                }
                best = max(points, key=points.__getitem__, default=None)
                row.append(f"{100 * points[best]:.1f} {best}" if best else ABSENT)
            rows.append(row)
    return ["data set", "backbone", *map(title_k, curves.ks)], rows


def sum_confusion(cells: Iterable[Cell]) -> dict[str, dict[str, Counter[str]]]:
    """Add the confusion tables of cells up.

    cells (Iterable[Cell]): The cells of one data set, some with a table.
    RETURNS (dict[str, dict[str, Counter[str]]]): Backbone -> label -> predicted label
        -> number of tokens. What has no table is not there.
    """
    total: dict[str, dict[str, Counter[str]]] = {}
    for cell in cells:
        table = cell.scores.get("confusion")
        if not _is_confusion(table):
            continue
        mine = total.setdefault(cell.backbone, defaultdict(Counter))
        for label, row in table.items():
            mine[label].update(row)
    return total


def confusion_table(
    counts: Mapping[str, Mapping[str, int]],
) -> tuple[list[str], list[list[str]]]:
    """Lay a confusion table out.

    counts (Mapping): Label -> predicted label -> number of tokens.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows: of the tokens of each
        label the share, in percent, that was given each label; `O` last.
    """
    labels = _sort_labels({*counts, *(name for row in counts.values() for name in row)})
    rows = []
    for label in labels:
        row = counts.get(label, {})
        total = sum(row.values())
        if total:
            shares = [f"{100 * row.get(name, 0) / total:.1f}" for name in labels]
            rows.append([label, f"{total:,}", *shares])
    return ["label", "tokens", *labels], rows


def find_confused(
    counts: Mapping[str, Mapping[str, int]],
) -> list[tuple[str, str, int]]:
    """Find the labels that are confused most, either taken for the other.

    counts (Mapping): Label -> predicted label -> number of tokens.
    RETURNS (list[tuple[str, str, int]]): Two labels in alphabetical order and the
        number of tokens, most first; without `O`.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for label, row in counts.items():
        for name, count in row.items():
            if count and label != name and OUTSIDE not in (label, name):
                first, second = sorted((label, name))
                pairs[first, second] += count
    ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(*pair, count) for pair, count in ranked]


def confused_table(
    tables: Mapping[str, Mapping[str, Mapping[str, int]]], backbones: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Lay out the pairs of labels that the backbones confuse most.

    tables (Mapping): Backbone -> its confusion table.
    backbones (Sequence[str]): Those to show.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows: tokens of either label
        that were given the other, with each backbone.
    """
    found = {
        name: {(a, b): n for a, b, n in find_confused(tables.get(name, {}))}
        for name in backbones
    }
    total: Counter[tuple[str, str]] = Counter()
    for pairs in found.values():
        total.update(pairs)
    ranked = sorted(total, key=lambda pair: (-total[pair], pair))[:MOST_PAIRS]
    rows = [
        [*pair, *(f"{found[name].get(pair, 0):,}" for name in backbones)]
        for pair in ranked
    ]
    return ["label", "label", *backbones], rows


def _is_confusion(table: Any) -> TypeGuard[dict[str, dict[str, int]]]:
    return isinstance(table, dict) and all(
        isinstance(row, dict) and all(type(count) is int for count in row.values())
        for row in table.values()
    )


def _read_scores(cell: Cell) -> dict[str, float]:
    found = cell.scores.get("token_f_per_label")
    if not isinstance(found, dict):
        return {}
    return {name: f for name, f in found.items() if isinstance(f, int | float)}


def _sort_labels(labels: Iterable[str]) -> list[str]:
    return sorted(labels, key=lambda label: (label == OUTSIDE, label))
