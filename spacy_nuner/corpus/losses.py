"""What became of every record and annotation."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from .. import about
from ..errors import Errors, NunerError
from ..readers.records import Row, Source
from ..readers.sources import HEAD
from .align import STEPS
from .row_to_doc import QUARANTINED, Outcome


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

    def count(self, row: Row, outcome: Outcome) -> None:
        """Count a row and its annotations.

        row (Row): The row.
        outcome (Outcome): What became of it.
        """
        self.rows += 1
        if outcome.refused is not None:
            self.refused[outcome.refused.reason] += 1
            detail = outcome.refused.detail or outcome.refused.reason
            place = f"{row.source.name}, line {row.line}"
            self.first_refused = self.first_refused or f" First: {place}: {detail}."
        if outcome.record is not None:
            self.annotations += len(outcome.record.entities)
            self.unreadable.update(loss.reason for loss in outcome.record.bad)
        if outcome.dropped is not None:
            self.dropped[outcome.dropped] += 1
        self.lost.update(loss.reason for loss in outcome.lost)
        if outcome.doc is not None:
            self.written += 1
            self.spans += len(outcome.spans)
            for name, match in outcome.matches:
                self.matched[match.how] += 1
                self.several += match.several
                self.concepts[name] += 1

    def nothing_usable(self, sources: Sequence[Source]) -> NunerError:
        """sources (Sequence[Source]): What was read. RETURNS (NunerError): N102."""
        reasons = self.refused + self.dropped
        counts = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common(5))
        names = ", ".join(source.name for source in sources[:3])
        if len(sources) > 3:
            names += f" and {len(sources) - 3} more"
        facts = {"rows": self.rows, "counts": counts or "there are no rows"}
        return NunerError(Errors.N102, inputs=names, first=self.first_refused, **facts)

    def add(self, other: "Tally") -> None:
        """Add the counts of what was converted after this.

        other (Tally): The counts.
        """
        self.first_refused = self.first_refused or other.first_refused
        for one in fields(self):
            if one.name != "first_refused":
                mine, more = getattr(self, one.name), getattr(other, one.name)
                if isinstance(mine, Counter):
                    mine.update(more)
                else:
                    setattr(self, one.name, mine + more)

    def to_json(self) -> dict[str, Any]:
        """RETURNS (dict): The counts, for `from_json`."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Tally":
        """data (dict): What `to_json` gave. RETURNS (Tally): The counts."""
        values: dict[str, Any] = {
            key: Counter(value) if isinstance(value, dict) else value
            for key, value in data.items()
        }
        return cls(**values)

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


def describe_losses(row: Row, outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Say what of a row a person may want to look at.

    row (Row): The row.
    outcome (Outcome): What became of it.
    YIELDS (dict[str, Any]): Lines of the quarantine: place, reason, and what was lost.
    """
    place = {"file": row.source.name, "line": row.line}
    if outcome.refused is not None:
        yield {
            **place,
            "reason": outcome.refused.reason,
            "detail": outcome.refused.detail,
            "row": "".join(row.cells)[:HEAD],
        }
    if outcome.record is not None:
        lost = [loss for loss in outcome.lost if loss.reason in QUARANTINED]
        for loss in [*outcome.record.bad, *lost]:
            yield {
                **place,
                "id": outcome.record.id,
                "reason": loss.reason,
                "annotation": loss.annotation[:HEAD],
            }
