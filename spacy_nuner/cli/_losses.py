"""Tables of what was read and what was lost, for convert and import."""

from pathlib import Path
from typing import Any

from ..printing import shorten
from ._util import msg

NAME_WIDTH = 40


def show_losses(report: dict[str, Any], output: str, quarantine: Path) -> None:
    """Print what became of records and annotations, and where it was written.

    report (dict[str, Any]): The report of a conversion.
    output (str): What was written.
    quarantine (Path): The file of what could not be used, which may not exist.
    """
    records, annotations = report["records"], report["annotations"]
    concepts = report["concepts"]
    rows = [("read", records["read"]), ("written", records["written"])]
    for state in ("quarantined", "dropped"):
        rows += [(f"{state}: {why}", n) for why, n in records[state].items()]
    labelled = report.get("labelled", {})
    if forms := labelled.get("forms"):
        msg.text(f"Read as {', '.join(f'{name} ({n:,})' for name, n in forms.items())}")
    msg.divider("Records")
    _show_table(rows, records["read"])
    rows = [("read", annotations["read"])]
    rows += [(f"matched {how}", n) for how, n in annotations["matched"].items() if n]
    rows += [(f"lost: {why}", n) for why, n in annotations["lost"].items()]
    msg.divider("Annotations")
    _show_table(rows, annotations["read"])
    rows = [
        ("occur more than once in the text", annotations["occurring_more_than_once"])
    ]
    rows += [(f"line: {why}", n) for why, n in annotations["unreadable_lines"].items()]
    rows += [
        ("spans written", annotations["spans"]),
        ("concepts", concepts["distinct"]),
        ("concepts that occur once", concepts["once"]),
    ]
    _show_table(rows)
    if found := labelled.get("found"):
        msg.divider("Found besides")
        _show_table(list(found.items()))
    if "agreement" in labelled:
        agreement = f"{100 * labelled['agreement']:.1f}"
        msg.text(f"Annotators agree by {agreement} F1, one against another.")
    top = [f"{shorten(name, 60)} {n}" for name, n in concepts["most_frequent"].items()]
    msg.text(f"Most frequent: {', '.join(top)}")
    msg.good(f"{records['written']} of {records['read']} records: {output}")
    if quarantine.exists() and quarantine.stat().st_size:
        msg.info(f"What could not be used, and why: {quarantine}")


def _show_table(rows: list[tuple[str, int]], total: int | None = None) -> None:
    """Print counts, and what share of the total they are."""
    shown: list[tuple[str, ...]] = [(name, f"{n:,}") for name, n in rows]
    if total:
        shown = [(name, f"{n:,}", f"{n / total:.1%}") for name, n in rows]
    name_width = max(NAME_WIDTH, *(len(name) for name, _ in rows))
    columns = len(shown[0])
    msg.table(
        shown, widths=(name_width, 12, 8)[:columns], aligns=("l", "r", "r")[:columns]
    )
