"""`spacy nuner convert`: annotated sentences as DocBin, with a report of the losses."""

from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

NAME_WIDTH = 40


class Which(StrEnum):
    """Which occurrences of an entity are annotated."""

    all = "all"
    first = "first"
    in_order = "in_order"


def convert(
    inputs: list[Path] = typer.Argument(
        ...,
        metavar="INPUT...",
        help="Records (.jsonl), numind/NuNER (.csv), BIO (.conll), or folders of them",
    ),
    output_dir: Path = typer.Argument(
        ..., metavar="OUTPUT_DIR", help="Folder to write; an earlier corpus is replaced"
    ),
    lang: str = typer.Option("en", help="Language of the tokenizer"),
    occurrences: Which = typer.Option(
        Which.all, help="Which occurrences of an entity in its text to annotate"
    ),
    ignore_case: bool = typer.Option(
        True,
        "--ignore-case/--match-case",
        help="Find what differs from the text in case, blanks or quotes alone",
    ),
    keep_concept_sentences: bool = typer.Option(
        False,
        "--keep-concept-sentences",
        help="Keep sentences with the concept 'concept', which NuNER's authors drop",
    ),
    keep_empty_types: bool = typer.Option(
        False,
        "--keep-empty-types",
        help="Keep annotations whose concept says nothing, such as 'entity'",
    ),
) -> None:
    """Write annotated sentences as DocBin shards, with a report of every loss."""
    from wasabi import msg

    from ..corpus.clean import EMPTY_TYPES, REFUSED
    from ..corpus.convert import QUARANTINE, REPORT, Settings
    from ..corpus.convert import convert as write_corpus

    settings = Settings(
        lang=lang,
        occurrences=occurrences.value,
        ignore_case=ignore_case,
        refused=frozenset() if keep_concept_sentences else REFUSED,
        empty_types=frozenset() if keep_empty_types else EMPTY_TYPES,
    )
    report = write_corpus(inputs, output_dir, settings=settings)
    _show(report)
    records = report["records"]
    shards = len(report["shards"])
    names = f"{output_dir} ({shards} {'shard' if shards == 1 else 'shards'}, {REPORT}"
    msg.good(f"{records['written']} of {records['read']} records: {names})")
    if (output_dir / QUARANTINE).stat().st_size:
        msg.info(f"What could not be used, and why: {output_dir / QUARANTINE}")


def _show(report: dict[str, Any]) -> None:
    from wasabi import msg

    records, annotations = report["records"], report["annotations"]
    concepts = report["concepts"]
    msg.divider("Records")
    rows = [("read", records["read"]), ("written", records["written"])]
    rows += [(f"quarantined: {why}", n) for why, n in records["quarantined"].items()]
    rows += [(f"dropped: {why}", n) for why, n in records["dropped"].items()]
    _table(rows, records["read"])
    msg.divider("Annotations")
    rows = [("read", annotations["read"])]
    rows += [(f"matched {how}", n) for how, n in annotations["matched"].items()]
    rows += [(f"lost: {why}", n) for why, n in annotations["lost"].items()]
    _table(rows, annotations["read"])
    rows = [("standing more than once", annotations["standing_more_than_once"])]
    rows += [(f"line: {why}", n) for why, n in annotations["unreadable_lines"].items()]
    rows += [
        ("spans written", annotations["spans"]),
        ("concepts", concepts["distinct"]),
        ("concepts that occur once", concepts["once"]),
    ]
    _table(rows)
    top = ", ".join(f"{name} {n}" for name, n in concepts["most_frequent"].items())
    msg.text(f"Most frequent: {top}")


def _table(rows: list[tuple[str, int]], total: int | None = None) -> None:
    from wasabi import msg

    shown: list[tuple[str, ...]] = [(name, f"{n:,}") for name, n in rows]
    if total:
        shown = [(name, f"{n:,}", f"{n / total:.1%}") for name, n in rows]
    name_width = max(NAME_WIDTH, *(len(name) for name, _ in rows))
    columns = len(shown[0])
    msg.table(
        shown, widths=(name_width, 12, 8)[:columns], aligns=("l", "r", "r")[:columns]
    )
