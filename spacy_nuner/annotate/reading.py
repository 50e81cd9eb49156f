"""Lines and rows of files, plain or compressed, with a count of what was no use."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import NunerError

STDIN = "-"
# Text that holds one of these is binary data or was decoded wrongly; a lone surrogate
# can't be written as UTF-8 at all.
BROKEN_CHARS = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ud800-\udfff]"


class Skips:
    """Counts what was passed over, by reason, and where that was seen first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, reason: str, place: str) -> None:
        """reason (str): Why it was passed over. place (str): Where it stands."""
        self.counts[reason] += 1
        self.first.setdefault(reason, place)

    def total(self) -> int:
        """RETURNS (int): How many were passed over for any reason."""
        return self.counts.total()

    def describe(self) -> str:
        """RETURNS (str): The counts by reason, each with the first place."""
        return ", ".join(
            f"{count} {reason} (first: {self.first[reason]})"
            for reason, count in self.counts.most_common()
        )


def read_lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a file, unpacked by the suffix (.gz, .bz2, .xz, .zst).

    path (str): The file, or "-" for standard input.
    YIELDS (tuple[int, bytes]): The number of the line, from 1, and the line.
    RAISES (NunerError): N005 if the file is missing or damaged, N006 if the package
        that unpacks it is missing.
    """
    if path == STDIN:
        yield from enumerate(sys.stdin.buffer, start=1)
        return
    from smart_open import open as open_packed

    try:
        with open_packed(path, "rb") as file:
            yield from enumerate(file, start=1)
    except ImportError as error:
        package = f"the package '{error.name}'"
        raise NunerError("N006", package=package, extra="annotate") from error
    except Exception as error:
        # Each kind of compression has its own exception for damaged data.
        reason = str(getattr(error, "strerror", None) or error)
        todo = "Check that the file exists, may be read and was copied whole."
        raise NunerError("N005", path=path, reason=reason, todo=todo) from error


def read_rows(path: str, skips: Skips) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the objects of a JSON Lines file; what is none is counted and left out.

    path (str): The file, or "-" for standard input.
    skips (Skips): Counts the lines that hold no object.
    YIELDS (tuple[int, dict[str, Any]]): The number of the line and its object.
    """
    for number, line in read_lines(path):
        row = parse_row(line, f"{path}:{number}", skips)
        if row is not None:
            yield number, row


def parse_row(line: bytes, place: str, skips: Skips) -> dict[str, Any] | None:
    """Read one line of JSON.

    line (bytes): The line.
    place (str): Where it stands, for the report.
    skips (Skips): Counts the line if it holds no object.
    RETURNS (dict[str, Any] | None): None for a blank line or one without an object.
    """
    if not line.strip():
        return None
    try:
        # Left to itself, json guesses at UTF-16 and UTF-32.
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        skips.add("not UTF-8", place)
    except (ValueError, RecursionError):
        skips.add("not JSON", place)
    else:
        if isinstance(row, dict):
            return row
        skips.add("not a JSON object", place)
    return None


def is_folder(path: str) -> bool:
    """path (str): A path or "-". RETURNS (bool): Whether a folder stands there."""
    return path != STDIN and Path(path).is_dir()
