"""What became of every record and annotation."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .. import about
from .align import STEPS


@dataclass
class Tally:
    """Counts of a conversion, and the first row that was refused as an example.

    Every annotation that was read is either in `matched` or in `lost`; every row is
    written, in `refused` or in `dropped`.
    """

    rows: int = 0
    first_refused: str = ""
    written: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    annotations: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    matched: Counter[str] = field(default_factory=Counter)
    several: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    spans: int = 0
    concepts: Counter[str] = field(default_factory=Counter)

    def summary(
        self,
        *,
        settings: dict[str, Any],
        inputs: Iterable[dict[str, Any]],
        shards: Iterable[dict[str, Any]],
    ) -> dict[str, Any]:
        """Put the counts into the form of report.json.

        settings (dict): The settings of the conversion.
        inputs (Iterable[dict]): The files read: name, form, size and hash.
        shards (Iterable[dict]): The files written: name, docs and hash.
        RETURNS (dict): The report.
        """
        return {
            "version": about.__version__,
            "settings": settings,
            "inputs": list(inputs),
            "shards": list(shards),
            "records": {
                "read": self.rows,
                "written": self.written,
                "quarantined": dict(self.refused.most_common()),
                "dropped": dict(self.dropped.most_common()),
            },
            "annotations": {
                "read": self.annotations,
                "matched": {step: self.matched[step] for step in STEPS},
                "lost": dict(self.lost.most_common()),
                "unreadable_lines": dict(self.unreadable.most_common()),
                "standing_more_than_once": self.several,
                "spans": self.spans,
            },
            "concepts": self._concepts(),
        }

    def _concepts(self) -> dict[str, Any]:
        total = self.concepts.total()
        top = self.concepts.most_common(100)
        return {
            "distinct": len(self.concepts),
            "once": sum(count == 1 for count in self.concepts.values()),
            "share_of_top_100": round(sum(n for _, n in top) / max(total, 1), 4),
            "most_frequent": dict(top[:20]),
        }
