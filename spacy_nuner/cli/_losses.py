"""Tables of what was read and what was lost, for convert and import."""

from pathlib import Path
from typing import Any

NAME_WIDTH = 40


def show_losses(report: dict[str, Any]) -> None:
    """Print what became of records and annotations.

    report (dict[str, Any]): The report of a conversion.
    """
    from wasabi import msg

    records, annotations = report["records"], report["annotations"]
    concepts = report["concepts"]
    msg.divider("Records")
    show_table(count_records(records), records["read"])
    msg.divider("Annotations")
    rows = [("read", annotations["read"])]
    rows += [(f"matched {how}", n) for how, n in annotations["matched"].items() if n]
    rows += [(f"lost: {why}", n) for why, n in annotations["lost"].items()]
    show_table(rows, annotations["read"])
    rows = [("standing more than once", annotations["standing_more_than_once"])]
    rows += [(f"line: {why}", n) for why, n in annotations["unreadable_lines"].items()]
    rows += [
        ("spans written", annotations["spans"]),
        ("concepts", concepts["distinct"]),
        ("concepts that occur once", concepts["once"]),
    ]
    show_table(rows)
    top = [f"{name[:60]} {n}" for name, n in concepts["most_frequent"].items()]
    msg.text(f"Most frequent: {', '.join(top)}")


def show_written(report: dict[str, Any], output_dir: Path) -> None:
    """Print where a corpus was written.

    report (dict[str, Any]): The report of a conversion.
    output_dir (Path): The folder.
    """
    from wasabi import msg

    from ..corpus.convert import QUARANTINE, REPORT

    records, shards = report["records"], len(report["shards"])
    names = f"{output_dir} ({shards} {'shard' if shards == 1 else 'shards'}, {REPORT})"
    msg.good(f"{records['written']} of {records['read']} records: {names}")
    if (output_dir / QUARANTINE).stat().st_size:
        msg.info(f"What could not be used, and why: {output_dir / QUARANTINE}")


def count_records(records: dict[str, Any]) -> list[tuple[str, int]]:
    """Make the rows of a table.

    records (dict[str, Any]): Counts of a report.
    RETURNS (list[tuple[str, int]]): Names and counts.
    """
    rows = [("read", records["read"]), ("written", records["written"])]
    rows += [(f"quarantined: {why}", n) for why, n in records["quarantined"].items()]
    dropped = records.get("dropped", {})
    return rows + [(f"dropped: {why}", n) for why, n in dropped.items()]


def show_table(rows: list[tuple[str, int]], total: int | None = None) -> None:
    """Print counts.

    rows (list[tuple[str, int]]): Names and counts.
    total (int | None): What they are a share of, if they are.
    """
    from wasabi import msg

    shown: list[tuple[str, ...]] = [(name, f"{n:,}") for name, n in rows]
    if total:
        shown = [(name, f"{n:,}", f"{n / total:.1%}") for name, n in rows]
    name_width = max(NAME_WIDTH, *(len(name) for name, _ in rows))
    columns = len(shown[0])
    msg.table(
        shown, widths=(name_width, 12, 8)[:columns], aligns=("l", "r", "r")[:columns]
    )
