"""The report of a folder of results, made from its files alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Errors, NunerError
from ..outputs import check_output, write_files
from ..pages import TableCell, render_page
from ..printing import escape_markdown, markdown_table, printable
from .breakdown import (
    best_table,
    choose_cells,
    confused_table,
    confusion_table,
    find_rivals,
    list_types,
    sum_confusion,
    types_table,
)
from .efficiency import efficiency_table
from .overlap import Encode, Overlap, count_overlap, find_overlap
from .published import MARK, published_table, read_published
from .results import (
    ABSENT,
    ALL,
    AVERAGE,
    METRICS,
    Cell,
    Curves,
    Point,
    curve_table,
    get_backbone,
    heads_table,
    protocol_table,
    rank_k,
    read_cells,
    read_heads,
    title_k,
    title_layers,
)

if TYPE_CHECKING:
    from .tadner_runs import Result

MARKDOWN, PAGE = "report.md", "report.html"
TITLE = "What the backbones are worth"
PROBE = "probe"
HEADS_FIGURE, TYPES_FIGURE = "heads", "types"
# Protocol -> its figure, what k is in it, and the metric that it is told by.
PROTOCOLS = {
    PROBE: ("learning_curve", "mentions of each label (k)", "macro_token_f"),
    "k~2k": ("k2k_curve", "mentions of each label, up to twice as many (k)", "ents_f"),
    "words": ("words_curve", "words of each label (k)", "ents_f"),
    "mentions": ("mentions_curve", "mentions of each label (k)", "ents_f"),
}
OTHER = ("other_curve", "k", "ents_f")
# Of models that were asked: counts in their scores.
ASKED = ("prompt_tokens", "completion_tokens", "truncated", "refused", "unasked")


@dataclass(frozen=True)
class Section:
    """A part of the report, in words that are escaped where they are written.

    title (str): Its heading.
    level (int): Of the heading.
    notes (Sequence[str]): What is said of it.
    header, rows (Sequence): Its table, if there is one.
    words (int): How many columns of the table are words.
    figure (str): Its figure without suffix, "" for none.
    caption (str): What the figure shows.
    sortable (bool): Whether the rows of the table can be sorted in the page.
    grey (bool): Whether it is of others than what was measured.
    folded (bool): Whether the page shows it on demand.
    """

    title: str
    level: int = 3
    notes: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    words: int = 1
    figure: str = ""
    caption: str = ""
    sortable: bool = False
    grey: bool = False
    folded: bool = False


def write_report(
    metrics: Path,
    output: Path,
    *,
    base: str = "base",
    overwrite: bool = False,
    concepts: Mapping[str, int] | None = None,
    encode: Encode | None = None,
) -> list[Path]:
    """Write tables and figures of the probe, of heads, models in context and TadNER.

    metrics (Path): The folder of results: cells and those of TadNER anywhere below it,
        scores of heads in `heads/`.
    output (Path): Where `report.html`, `report.md` and the figures, as PNG and SVG, go.
    base (str): The backbone that gains are over, where it was measured, too.
    overwrite (bool): Replace files that this did not make, too.
    concepts (Mapping[str, int] | None): Concepts of the pre-training corpus with their
        counts, to look the types up in.
    encode (Callable | None): From names to vectors, to find similar ones; needed with
        concepts.
    RETURNS (list[Path]): What was written.
    RAISES (NunerError): N006 if matplotlib is not installed, N631 if a file is no
        result, N632 if there is none, N633 if there is none of the base; what
        `write_files` raises.
    """
    from ..plotting import get_paths
    from .figures import draw_heads
    from .tadner_runs import read_results

    output = check_output(output, inputs=[metrics], folder=True)
    names = [HEADS_FIGURE, TYPES_FIGURE, OTHER[0]]
    names += [figure for figure, _, _ in PROTOCOLS.values()]
    figures = chain.from_iterable(get_paths(output / name) for name in names)
    paths = [output / MARKDOWN, output / PAGE, *figures]
    with write_files(paths, command="report", overwrite=overwrite) as folder:
        cells, heads = read_cells(metrics), read_heads(metrics)
        episodes = read_results(metrics)
        if not cells and not heads and not episodes:
            raise NunerError(Errors.N632, path=metrics)
        probed = [cell.backbone for cell in cells]
        trained = [get_backbone(name) for name in heads]
        tested = [one.backbone for found in episodes.values() for one in found]
        every = {*probed, *trained, *tested}
        backbones = sorted(every, key=lambda name: (name != base, name))
        if base not in every:
            raise NunerError(Errors.N633, base=base, found=", ".join(backbones))
        sections = []
        if heads:
            # In the order of their backbones, the base first.
            ranked = sorted(heads, key=lambda name: backbones.index(get_backbone(name)))
            heads = {name: heads[name] for name in ranked}
            sections.append(_describe_heads(heads, base))
            draw_heads(heads, backbones, folder / HEADS_FIGURE)
        overlap: dict[str, dict[str, Overlap]] = {}
        of_episodes: dict[str, Overlap] = {}
        if concepts and encode:
            overlap = _find_overlaps(cells, concepts, encode)
            if types := _list_types(episodes):
                of_episodes = find_overlap(types, concepts, encode)
        for protocol in _list_protocols(cells):
            own = [cell for cell in cells if cell.protocol == protocol]
            sections += _describe_protocol(own, protocol, backbones, overlap, folder)
        if asked := [cell for cell in cells if "prompt_tokens" in cell.scores]:
            sections.append(_describe_asked(asked))
        if episodes:
            sections += _describe_episodes(episodes, base, of_episodes)
        if cells:
            sections.append(_describe_encoders(cells))
        (folder / MARKDOWN).write_text(_write_markdown(sections), encoding="utf8")
        (folder / PAGE).write_text(_write_page(sections, folder), encoding="utf8")
        # A figure that nothing was drawn into is not there.
        return [path for path in paths if (folder / path.name).exists()]


def _list_protocols(cells: Iterable[Cell]) -> list[str]:
    """The protocols of cells, the frozen probe first."""
    found = {cell.protocol for cell in cells}
    return sorted(found, key=lambda name: (name != PROBE, name))


def _describe_heads(heads: Mapping[str, Mapping[str, Point]], base: str) -> Section:
    counts = sorted({point["ents_f"].n for point in heads.values()})
    note = "Entity precision, recall and F1 of spaCy's scorer on the test set, percent"
    if counts != [1]:
        note += "; mean ± standard deviation over draws, one where there is no ±"
    header, rows = heads_table(heads, base)
    return Section(
        "Trained heads",
        level=2,
        notes=[f"{note}. Gains are in points of F1."],
        header=header,
        rows=rows,
        figure=HEADS_FIGURE,
        caption="Entity F1 of each head",
    )


def _describe_protocol(
    cells: Sequence[Cell],
    protocol: str,
    backbones: Sequence[str],
    overlap: Mapping[str, Mapping[str, Overlap]],
    folder: Path,
) -> list[Section]:
    """Sections of the cells of one protocol; its figures go into the folder."""
    from .figures import draw_learning_curve

    figure, k_title, main = PROTOCOLS.get(protocol, OTHER)
    # Whether or not it has results of this protocol.
    base = backbones[0]
    curves = {metric: Curves(cells, metric) for metric in METRICS}
    compared = [name for name in backbones if name in curves[main].backbones]
    published = read_published(protocol, main)
    draw_learning_curve(
        curves[main],
        backbones,
        folder / figure,
        title=METRICS[main],
        k_title=k_title,
        published=published,
    )
    sections = [
        _introduce(protocol, figure),
        *_describe_curves(curves, protocol, compared, base, AVERAGE),
        *_describe_efficiency(
            curves[main], METRICS[main], compared, base, short=_list_short(cells)
        ),
        *_describe_best(curves["ents_f"], compared),
        *_describe_types(cells, compared, base, overlap, folder),
    ]
    for dataset in curves[main].datasets:
        found = overlap.get(dataset, {})
        sections += _describe_curves(curves, protocol, compared, base, dataset, found)
        sections += _describe_confusion(cells, compared, base, dataset)
    if drawn := [cell for cell in cells if cell.k]:
        sections.append(_describe_draws(drawn))
    if zero := [cell for cell in cells if not cell.k]:
        sections.append(_describe_names(zero))
    if published:
        header, rows = published_table(published)
        title = f"{METRICS[main]}, {MARK}"
        sections.append(Section(title, header=header, rows=rows, words=3, grey=True))
    return sections


def _introduce(protocol: str, figure: str) -> Section:
    if protocol == PROBE:
        title = "Frozen probe"
        note = (
            "A linear classifier on the vectors of the frozen encoder, fitted to k "
            "mentions of each label: percent, mean ± standard deviation over draws. "
            "All backbones had the same draws."
        )
    else:
        title = f"Protocol {protocol}"
        note = (
            "Heads that were trained on the same draws of every backbone, or models "
            "that had these in their prompt: percent, mean ± standard deviation over "
            "draws. Gains are over the same head of the base."
        )
    return Section(title, 2, [note], figure=figure, caption="Learning curves")


def _describe_curves(
    curves: Mapping[str, Curves],
    protocol: str,
    backbones: Sequence[str],
    base: str,
    dataset: str,
    overlap: Mapping[str, Overlap] | None = None,
) -> list[Section]:
    """A table of a data set, or of the average, for each metric.

    Heads stand in one, to be compared; layer sets of the probe have one each.
    """
    if dataset == AVERAGE and all(len(one.averaged) < 2 for one in curves.values()):
        return []
    name = "Average over data sets" if dataset == AVERAGE else dataset
    sections = []
    for metric, title in METRICS.items():
        curve = curves[metric]
        heading = f"{name}: {title}"
        if protocol == PROBE:
            tables = {
                f"{heading}, {title_layers(layers)}": (
                    [layers],
                    curve_table(curve, dataset, layers, backbones, base=base),
                )
                for layers in curve.layers
            }
        else:
            table = protocol_table(curve, dataset, backbones, base=base)
            tables = {heading: (curve.layers, table)}
        for heading, (sets, (header, rows)) in tables.items():
            notes = [_count_draws(curve, dataset, sets)]
            if dataset == AVERAGE:
                notes.append(f"Sets: {', '.join(curve.averaged)}.")
            if overlap:
                notes.append(count_overlap(overlap))
            words = 1 if protocol == PROBE else 2
            if rows:
                section = Section(heading, 3, notes, header, rows, words)
                sections.append(section)
    if dataset == AVERAGE and not sections:
        every = ", ".join(curves["ents_f"].averaged)
        note = f"None: nothing was measured on all of {every} with the same draws."
        sections.append(Section(name, notes=[note]))
    return sections


def _count_draws(curves: Curves, dataset: str, sets: Sequence[str]) -> str:
    found = [
        point.n
        for layers, backbone, k in product(sets, curves.backbones, curves.ks)
        if (point := curves.point(dataset, layers, backbone, k)) and k
    ]
    return f"Draws of each k: {_range(found)}." if found else "No draws."


def _describe_best(curves: Curves, backbones: Sequence[str]) -> list[Section]:
    if len(curves.layers) < 2:
        return []
    header, rows = best_table(curves, backbones)
    note = (
        "Of the layer sets or heads that were measured, the one with the highest mean "
        "entity F1 on the test sets."
    )
    title = "Best at each number of examples"
    return [Section(title, notes=[note], header=header, rows=rows, words=2)]


def _list_short(cells: Iterable[Cell]) -> str:
    """Say where labels have fewer mentions than k, of which all were taken."""
    found = {}
    for cell in cells:
        few = [count for count in cell.mentions.values() if count < rank_k(cell.k)]
        if few and cell.k != ALL and cell.protocol in (PROBE, "mentions"):
            found[cell.dataset, rank_k(cell.k)] = (
                f"{cell.dataset} at k={cell.k}: {len(few)} of {len(cell.mentions)} "
                "labels"
            )
    if not found:
        return ""
    named = "; ".join(text for _, text in sorted(found.items()))
    return f"Fewer mentions than k, of which all were taken, have in {named}."


def _describe_efficiency(
    curves: Curves, metric: str, backbones: Sequence[str], base: str, *, short: str
) -> list[Section]:
    """How many examples the base needs for what each other backbone has."""
    sections = []
    for layers in curves.layers:
        for backbone in find_rivals(backbones, base):
            header, rows = efficiency_table(curves, layers, base, backbone)
            title = f"Data efficiency of {backbone}: {metric}, {title_layers(layers)}"
            note = (
                f"Examples of each label with which {base} has the F1 that {backbone} "
                "has with k, and how many times k that is: interpolated between the "
                "measured k on their logarithm; > where it was not reached with the "
                "most examples that were measured, ≤ where the fewest were enough."
            )
            if rows:
                notes = [note, short] if short else [note]
                section = Section(title, notes=notes, header=header, rows=rows)
                sections.append(section)
    return sections


def _describe_types(
    cells: Sequence[Cell],
    backbones: Sequence[str],
    base: str,
    overlap: Mapping[str, Mapping[str, Overlap]],
    folder: Path,
) -> list[Section]:
    from .figures import draw_types

    chosen = choose_cells(cells, base)
    rows = list_types(chosen)
    if not rows:
        return []
    what = f"token F1, {title_k(chosen[0].k)}, {title_layers(chosen[0].layers)}"
    measured = {cell.backbone for cell in chosen}
    backbones = [name for name in backbones if name in measured]
    header, table = types_table(rows, backbones, overlap, base=base)
    gains = bool(find_rivals(backbones, base))
    section = Section(
        f"By type: {what}",
        notes=["The types that gain most come first."] if gains else [],
        header=header,
        rows=table,
        words=3 if overlap else 2,
        sortable=True,
    )
    # Of one protocol: figures have one name.
    if gains and not (folder / f"{TYPES_FIGURE}.svg").exists():
        draw_types(rows, backbones, folder / TYPES_FIGURE, title=what)
        caption = "The types that gain most over the base"
        section = replace(section, figure=TYPES_FIGURE, caption=caption)
    return [section]


def _describe_confusion(
    cells: Sequence[Cell], backbones: Sequence[str], base: str, dataset: str
) -> list[Section]:
    """What is taken for what in a data set, where the cells say so."""
    chosen = choose_cells([cell for cell in cells if cell.dataset == dataset], base)
    tables = sum_confusion(chosen)
    if not tables:
        return []
    shown = [name for name in backbones if name in tables]
    what = f"{title_k(chosen[0].k)}, {title_layers(chosen[0].layers)}"
    header, rows = confused_table(tables, shown)
    note = "Tokens of either label that were given the other, over all draws."
    title = f"{dataset}: labels that are confused most, {what}"
    sections = [Section(title, notes=[note], header=header, rows=rows, words=2)]
    for name in shown:
        header, rows = confusion_table(tables[name])
        note = (
            "Rows are the labels of the test set, columns what was predicted: percent "
            "of the tokens of the label, over all draws."
        )
        title = f"{dataset}: confusion table of {name}, {what}"
        section = Section(title, notes=[note], header=header, rows=rows)
        sections.append(replace(section, folded=True))
    return sections


def _describe_draws(cells: Sequence[Cell]) -> Section:
    """The size of draws: what k mentions cost in sentences."""
    rows = []
    found = {(cell.dataset, cell.k) for cell in cells}
    for dataset, k in sorted(found, key=lambda one: (one[0], rank_k(one[1]))):
        same = [cell for cell in cells if (cell.dataset, cell.k) == (dataset, k)]
        draws = {cell.draw: cell for cell in same}.values()
        sentences = [cell.sentences for cell in draws]
        mentions = [count for cell in draws for count in cell.mentions.values()] or [0]
        rows.append(
            [dataset, str(k), str(len(draws)), _range(sentences), _range(mentions)]
        )
    header = ["data set", "k", "draws", "sentences a draw", "mentions a label"]
    return Section("What was drawn", header=header, rows=rows)


def _describe_names(cells: Sequence[Cell]) -> Section:
    """What is known where there is no example."""
    thresholds = {str(cell.settings["threshold"]) for cell in cells} - {"None"}
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
    note = (
        "k = 0 is no probe: labels are known by name and description alone. "
        f"Threshold: {', '.join(sorted(thresholds))}; of spans that overlap "
        "nuner_concepts takes the one with the best coverage (score times tokens)."
    )
    if not thresholds:
        note = (
            "k = 0 is a prompt without drawn examples; that of spacy-llm then has an "
            "example of its own, of other labels."
        )
    return Section(
        "No example",
        notes=[note],
        header=["data set", "label", "name", "description"],
        rows=[rows[key] for key in sorted(rows)],
        words=4,
    )


def _describe_asked(cells: Sequence[Cell]) -> Section:
    """What models behind a server were asked, and what it took."""
    rows = [
        [
            *(cell.backbone, cell.head, cell.dataset),
            f"{cell.k} ({cell.draw})",
            _show_count(cell.settings.get("test_sentences")),
            *(_show_count(cell.scores.get(key)) for key in ASKED),
            _show_cost(cell.scores),
            _show_share(cell.scores.get("ents_f")),
            _show_share(cell.scores.get("strings_f")),
        ]
        for cell in cells
    ]
    note = (
        "Labels in the prompt of a model, in spacy-llm's form with the drawn sentences "
        "as examples, or UniversalNER's, a question for each label. F1 of spans is "
        "that of all other tables. F1 of strings is UniversalNER's own rule (sets of "
        "normalised strings, wherever and however often they stand): it must not be "
        "compared with F1 of spans. Tokens and cost are of all answers, as the server "
        "counted them."
    )
    header = ["model", "asked by", "data set", "k (draw)", "test sentences"]
    header += ["tokens sent", "received", "truncated", "refused", "not asked", "cost"]
    header += ["F1 of spans", "F1 of strings"]
    return Section("Models in context", 2, [note], header=header, rows=rows, words=3)


def _list_types(episodes: Mapping[str, Sequence["Result"]]) -> dict[str, str]:
    """The types of all episodes, and what they are called."""
    return {
        label: name
        for found in episodes.values()
        for one in found
        for label, name in one.settings.get("names", {}).items()
    }


def _describe_episodes(
    episodes: Mapping[str, Sequence["Result"]],
    base: str,
    overlap: Mapping[str, Overlap],
) -> list[Section]:
    """What backbones are worth inside TadNER, a table for each setting."""
    from .tadner_runs import episodes_table

    note = (
        "Micro F1 over the counts of all episodes, with its 95% interval by a "
        "bootstrap over episodes. Gains are of the episodes that both saw, so they are "
        "surer than the difference of two intervals. Spans F1 is that of the first "
        "stage, whatever the type."
    )
    sections = [Section("TadNER on episodes of new types", level=2, notes=[note])]
    for name, found in episodes.items():
        counts = _range([len(one.episodes) for one in found])
        sampled = any("query_shots" in one.settings["episodes"] for one in found)
        origin = (
            "sampled here: published figures are of other episodes"
            if sampled
            else "of a file"
        )
        header, rows = episodes_table(found, base)
        notes = [f"{counts} episodes, {origin}."]
        types = _list_types({name: found})
        if known := {label: overlap[label] for label in types if label in overlap}:
            notes.append(count_overlap(known))
        sections.append(Section(name, notes=notes, header=header, rows=rows))
    published = [
        [f"{one.system} ({MARK})", one.data, one.source, f"{100 * value:.1f}"]
        for one in read_published("tadner", "ents_f")
        for value in one.points.values()
    ]
    header = ["system", "data", "source", "F1"]
    title = f"TadNER, {MARK}"
    return [
        *sections,
        Section(title, header=header, rows=published, words=3, grey=True),
    ]


def _show_count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ABSENT


def _show_cost(scores: Mapping[str, object]) -> str:
    cost = scores.get("cost")
    if not isinstance(cost, int | float):
        return ABSENT
    return f"{cost:,.4f} {scores.get('currency', '')}"


def _show_share(value: object) -> str:
    return f"{100 * value:.1f}" if isinstance(value, int | float) else ABSENT


def _describe_encoders(cells: Sequence[Cell]) -> Section:
    rows = set()
    for cell in cells:
        encoder = cell.settings["encoder"]
        version = encoder.get("sha256", encoder.get("commit", ""))[:12]
        layers = ", ".join(map(str, cell.settings["hidden_layers"]))
        rows.add((cell.backbone, encoder["name"], cell.layers, layers, version))
    header = ["backbone", "encoder", "layer set", "layers", "SHA-256 or commit"]
    return Section("What was read", header=header, rows=sorted(rows), words=5)


def _find_overlaps(
    cells: Sequence[Cell], concepts: Mapping[str, int], encode: Encode
) -> dict[str, dict[str, Overlap]]:
    """Look the types of each data set up among the concepts of the corpus."""
    names: dict[str, dict[str, str | None]] = {}
    for cell in cells:
        found = names.setdefault(cell.dataset, {})
        scored = cell.scores.get("token_f_per_label")
        for label in scored if isinstance(scored, dict) else ():
            found.setdefault(label, None)
        # What a label was called where its name was all that was known of it.
        for label, meaning in cell.settings.get("names", {}).items():
            if cell.k == 0 and label in found:
                found[label] = meaning["name"]
    return {
        dataset: find_overlap(found, concepts, encode)
        for dataset, found in names.items()
        if found
    }


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _write_markdown(sections: Iterable[Section]) -> str:
    parts = [f"# {TITLE}"]
    for section in sections:
        parts.append(f"{'#' * section.level} {escape_markdown(section.title)}")
        parts += map(escape_markdown, section.notes)
        if section.figure:
            parts.append(f"![{section.caption}]({section.figure}.png)")
        if section.rows:
            table = markdown_table(section.header, section.rows, words=section.words)
            parts.append(table)
    return "\n\n".join(parts) + "\n"


def _write_page(sections: Iterable[Section], folder: Path) -> str:
    from ..plotting import inline_svg

    shown = [
        {
            "id": f"section-{number}",
            "level": section.level,
            "title": printable(section.title),
            "notes": [printable(note) for note in section.notes],
            "caption": section.caption,
            "svg": inline_svg(folder / f"{section.figure}.svg", section.caption)
            if section.figure
            else "",
            "header": [printable(name) for name in section.header],
            "rows": [_make_row(row, section.words) for row in section.rows],
            "sortable": section.sortable,
            "grey": section.grey,
            "folded": section.folded,
        }
        for number, section in enumerate(sections, 1)
    ]
    return render_page("fewshot/report.html", title=TITLE, sections=shown)


def _make_row(row: Sequence[str], words: int) -> list[TableCell]:
    """Cells of a table that is sorted by the first number of a cell."""
    cells = []
    for column, text in enumerate(row):
        number = (
            re.search(r"[-+]?\d[\d,]*(?:\.\d+)?", text) if column >= words else None
        )
        value = float(number[0].replace(",", "")) if number else None
        cells.append(TableCell(printable(text), value))
    return cells
