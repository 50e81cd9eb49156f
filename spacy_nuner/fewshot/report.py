"""The report of a folder of results, made from its files alone."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from ..errors import Errors, NunerError
from ..outputs import check_output, write_files
from ..printing import escape_markdown, markdown_table
from .results import (
    AVERAGE,
    METRICS,
    Cell,
    Curves,
    Point,
    curve_table,
    get_backbone,
    heads_table,
    read_cells,
    read_heads,
    title_layers,
)

PAGE = "report.md"
HEADS_FIGURE, CURVES_FIGURE = "heads", "learning_curve"


def write_report(
    metrics: Path, output: Path, *, base: str = "base", overwrite: bool = False
) -> list[Path]:
    """Write tables and figures of the probe and of trained heads.

    metrics (Path): The folder of results: cells of the probe anywhere below it, scores
        of heads in `heads/`.
    output (Path): Where `report.md`, `learning_curve.png`, `heads.png` and the same as
        `.svg` go.
    base (str): The backbone that gains are over.
    overwrite (bool): Replace files that this did not make, too.
    RETURNS (list[Path]): What was written.
    RAISES (NunerError): N006 if matplotlib is not installed, N631 if a file is no
        result, N632 if there is none, N633 if there is none of the base; what
        `write_files` raises.
    """
    from ..plotting import get_paths
    from .figures import draw_heads, draw_learning_curve

    output = check_output(output, inputs=[metrics], folder=True)
    figures = [output / HEADS_FIGURE, output / CURVES_FIGURE]
    paths = [output / PAGE, *chain.from_iterable(map(get_paths, figures))]
    with write_files(paths, command="report", overwrite=overwrite) as folder:
        cells, heads = read_cells(metrics), read_heads(metrics)
        if not cells and not heads:
            raise NunerError(Errors.N632, path=metrics)
        probed = [cell.backbone for cell in cells]
        trained = [get_backbone(name) for name in heads]
        backbones = sorted({*probed, *trained}, key=lambda name: (name != base, name))
        if base not in (probed or trained):
            raise NunerError(Errors.N633, base=base, found=", ".join(backbones))
        sections = ["# What the backbones are worth"]
        written = [folder / PAGE]
        if heads:
            # In the order of their backbones, the base first.
            ranked = sorted(heads, key=lambda name: backbones.index(get_backbone(name)))
            heads = {name: heads[name] for name in ranked}
            sections += _describe_heads(heads, base)
            written += draw_heads(heads, backbones, folder / HEADS_FIGURE)
        if cells:
            curves = {metric: Curves(cells, metric) for metric in METRICS}
            sections += _describe_cells(cells, curves, backbones)
            main = next(iter(METRICS))
            written += draw_learning_curve(
                curves[main], backbones, folder / CURVES_FIGURE, title=METRICS[main]
            )
        text = "\n\n".join(sections) + "\n"
        written[0].write_text(text, encoding="utf8")
    return [output / path.name for path in written]


def _describe_heads(heads: Mapping[str, Mapping[str, Point]], base: str) -> list[str]:
    counts = sorted({point["ents_f"].n for point in heads.values()})
    note = "Entity precision, recall and F1 of spaCy's scorer on the test set, percent"
    if counts != [1]:
        note += "; mean ± standard deviation over draws, one where there is no ±"
    return [
        "## Trained heads",
        f"{note}. Gains are in points of F1.",
        markdown_table(*heads_table(heads, base)),
        "![Entity F1 of each head](heads.png)",
    ]


def _describe_cells(
    cells: Sequence[Cell], curves: Mapping[str, Curves], backbones: Sequence[str]
) -> list[str]:
    sections = [
        "## Frozen probe",
        "A linear classifier on the vectors of the frozen encoder, fitted to k "
        "mentions of each label: percent, mean ± standard deviation over draws. All "
        "backbones had the same draws.",
        "![Learning curves](learning_curve.png)",
    ]
    for metric, title in METRICS.items():
        curve = curves[metric]
        compared = [name for name in backbones if name in curve.backbones]
        average = [AVERAGE] if len(curve.datasets) > 1 else []
        for layers in curve.layers:
            for dataset in [*average, *curve.datasets]:
                name = "Average over data sets" if dataset == AVERAGE else dataset
                heading = f"{name}: {title}, {title_layers(layers)}"
                sections.append(f"### {escape_markdown(heading)}")
                table = curve_table(curve, dataset, layers, compared)
                sections.append(markdown_table(*table))
    if drawn := [cell for cell in cells if cell.k]:
        sections += ["### What was drawn", _describe_draws(drawn)]
    if zero := [cell for cell in cells if not cell.k]:
        sections += ["### No example", *_describe_names(zero)]
    return [*sections, *_encoders(cells)]


def _describe_draws(cells: Sequence[Cell]) -> str:
    """The size of draws: what k mentions cost in sentences."""
    rows = []
    for dataset, k in sorted({(cell.dataset, cell.k) for cell in cells}):
        same = [cell for cell in cells if (cell.dataset, cell.k) == (dataset, k)]
        draws = {cell.draw: cell for cell in same}.values()
        sentences = [cell.sentences for cell in draws]
        mentions = [count for cell in draws for count in cell.mentions.values()] or [0]
        rows.append(
            [dataset, str(k), str(len(draws)), _range(sentences), _range(mentions)]
        )
    header = ["data set", "k", "draws", "sentences a draw", "mentions a label"]
    return markdown_table(header, rows)


def _describe_names(cells: Sequence[Cell]) -> list[str]:
    """What is known where there is no example."""
    found = sorted({str(cell.settings["threshold"]) for cell in cells})
    thresholds = escape_markdown(", ".join(found))
    rows = {
        (cell.dataset, label): [
            cell.dataset,
            label,
            meaning["name"],
            meaning["description"] or "",
        ]
        for cell in cells
        for label, meaning in cell.settings["names"].items()
    }
    header = ["data set", "label", "name", "description"]
    return [
        "k = 0 is no probe: `nuner_concepts` knows the labels by name and description "
        f"alone. Threshold: {thresholds}; of spans that overlap the one "
        "with the best coverage counts (score times tokens).",
        markdown_table(header, [rows[key] for key in sorted(rows)], words=4),
    ]


def _encoders(cells: Sequence[Cell]) -> list[str]:
    rows = set()
    for cell in cells:
        encoder = cell.settings["encoder"]
        version = encoder.get("sha256", encoder.get("commit", ""))[:12]
        layers = ", ".join(map(str, cell.settings["hidden_layers"]))
        rows.add((cell.backbone, encoder["name"], cell.layers, layers, version))
    header = ["backbone", "encoder", "layer set", "layers", "SHA-256 or commit"]
    return ["### What was read", markdown_table(header, sorted(rows))]


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
