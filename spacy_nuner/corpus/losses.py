"""What became of every record and annotation."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from .. import about
from ..errors import Errors, NunerError
from ..readers.records import HEAD, Loss, Record, Row, Source, Tally
from .align import STEPS
from .row_to_doc import QUARANTINED, Outcome


@dataclass
class Counts:
    """Counts of a conversion.

    Every annotation that was read is either in `matched` or in `lost`; every row is
    written, in `refused` or in `dropped`.
    """

    rows: int = 0
    written: int = 0
    refused: Tally = field(default_factory=Tally)
    dropped: Tally = field(default_factory=Tally)
    annotations: int = 0
    unreadable: Tally = field(default_factory=Tally)
    matched: Counter[str] = field(default_factory=Counter)
    several: int = 0
    lost: Tally = field(default_factory=Tally)
    spans: int = 0
    concepts: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, outcome: Outcome) -> None:
        """Count a row and its annotations.

        row (Row): The row.
        outcome (Outcome): What became of it.
        """
        self.rows += 1
        if outcome.refused is not None:
            self.refused.add(*outcome.refused)
        if outcome.record is not None:
            self.annotations += len(outcome.record.entities)
            for loss in outcome.record.losses:
                self.unreadable.add(*loss)
        if outcome.dropped is not None:
            self.dropped.add(outcome.dropped, row.where())
        for loss in outcome.lost:
            self.lost.add(*loss)
        if outcome.doc is not None:
            self.written += 1
            self.spans += len(outcome.spans)
            for match in outcome.matches:
                self.matched[match.how] += 1
                self.several += match.several
                self.concepts[match.entity.concept] += 1

    def update(self, other: "Counts") -> None:
        """Add later counts.

        other (Counts): The counts.
        """
        for one in fields(self):
            mine, more = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, int):
                setattr(self, one.name, mine + more)
            else:
                mine.update(more)

    def to_json(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The counts, for `from_json`."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: value.to_json() if isinstance(value, Tally) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Counts":
        """Read counts.

        data (dict[str, Any]): What `to_json` returned.
        RETURNS (Counts): The counts.
        """
        counts = cls()
        for one in fields(cls):
            value = data[one.name]
            if isinstance(getattr(counts, one.name), Tally):
                value = Tally.from_json(value)
            elif isinstance(value, dict):
                value = Counter(value)
            setattr(counts, one.name, value)
        return counts

    def nothing_usable(self, sources: Sequence[Source]) -> NunerError:
        """Make the error of a conversion that wrote nothing.

        sources (Sequence[Source]): What was read.
        RETURNS (NunerError): N102.
        """
        kinds = self.refused.counts + self.dropped.counts
        counts = ", ".join(f"{kind} ({n})" for kind, n in kinds.most_common(5))
        names = ", ".join(source.name for source in sources[:3])
        if len(sources) > 3:
            names += f" and {len(sources) - 3} more"
        loss = next(iter(self.refused.first.values()), None)
        return NunerError(
            Errors.N102,
            inputs=names,
            rows=self.rows,
            counts=counts or "there are no rows",
            first=f" First: {loss.where}: {loss.detail or loss.kind}." if loss else "",
        )

    def report(
        self,
        *,
        settings: dict[str, Any],
        inputs: Iterable[dict[str, Any]],
        shards: Iterable[dict[str, Any]],
    ) -> dict[str, Any]:
        """Make the content of report.json.

        settings (dict[str, Any]): The settings of the conversion.
        inputs (Iterable[dict[str, Any]]): The files read: name, form, size and hash.
        shards (Iterable[dict[str, Any]]): The files written: name, docs and hash.
        RETURNS (dict[str, Any]): The report.
        """
        top = self.concepts.most_common(100)
        share = sum(n for _, n in top) / max(self.concepts.total(), 1)
        return {
            "version": about.__version__,
            "settings": settings,
            "inputs": list(inputs),
            "shards": list(shards),
            "records": {
                "read": self.rows,
                "written": self.written,
                "quarantined": self.refused.most_common(),
                "dropped": self.dropped.most_common(),
            },
            "annotations": {
                "read": self.annotations,
                "matched": {step: self.matched[step] for step in STEPS},
                "lost": self.lost.most_common(),
                "unreadable_lines": self.unreadable.most_common(),
                "occurring_more_than_once": self.several,
                "spans": self.spans,
            },
            "concepts": {
                "distinct": len(self.concepts),
                "once": sum(count == 1 for count in self.concepts.values()),
                "share_of_top_100": round(share, 4),
                "most_frequent": dict(top[:20]),
            },
        }


def describe_losses(row: Row, outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Describe what of a row goes to the quarantine.

    row (Row): The row.
    outcome (Outcome): What became of it.
    YIELDS (dict[str, Any]): Lines of the quarantine: file, line, reason, and what was
        lost.
    """
    where = {"file": row.source.name, "line": row.line}
    if outcome.refused is not None:
        content = row.content
        parts = [content.text] if isinstance(content, Record) else map(str, content)
        yield {
            **where,
            "reason": outcome.refused.kind,
            "detail": outcome.refused.detail,
            "row": "".join(parts)[:HEAD],
        }
    if outcome.record is not None:
        wanted: list[Loss] = [*outcome.record.losses]
        wanted += [loss for loss in outcome.lost if loss.kind in QUARANTINED]
        for loss in wanted:
            yield {
                **where,
                "id": outcome.record.id,
                "reason": loss.kind,
                "annotation": loss.detail[:HEAD],
            }
