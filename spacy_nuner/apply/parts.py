"""The corpus in parts, and the files of a part."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..files import sync_folder, write_synced
from ..memory import return_free_memory
from ..readers.texts import TextRow
from .forms_out import SUFFIXES
from .tagger import Form, TagCounts, Tagged, Tagger, TagSettings

# What a row costs beside its characters, in characters: a part of short rows, or of
# rows that hold no text, has an end too.
PER_ROW = 100
# A corpus becomes about so many parts: enough that all processes have work to the end
# and that little is lost with a process, few enough that nobody has to list them.
PARTS = 256
# The least and the most characters in a part.
SMALLEST, LARGEST = 50_000, 4_000_000


def choose_part_size(total: int | None) -> int:
    """Choose how large the parts of a corpus are.

    total (int | None): The bytes of its files; None if unknown.
    RETURNS (int): The characters of a part.
    """
    if total is None:
        return LARGEST // 8
    return min(max(total // PARTS, SMALLEST), LARGEST)


@dataclass(frozen=True)
class PartFiles:
    """The files of a part, in the folder of a run.

    folder (Path): The folder of the tagged rows.
    parts (Path): The folder of the rest, which is joined at the end.
    number (int): The number of the part in the order of the corpus, from 0.
    form (Form): The form of the tagged rows.
    """

    folder: Path
    parts: Path
    number: int
    form: Form

    @property
    def tagged(self) -> Path:
        """The tagged rows, which are written last."""
        return self.folder / f"{self.number:06}{SUFFIXES[self.form]}"

    @property
    def failed(self) -> Path:
        """The rows that were not tagged, as JSON Lines."""
        return self.parts / f"{self.number:06}.jsonl"

    @property
    def notes(self) -> Path:
        """The counts, and from where to where it goes."""
        return self.parts / f"{self.number:06}.json"

    def write(self, tagged: Tagged, span: dict[str, Any]) -> None:
        """Write the files, each whole or not at all, that of the tagged rows last.

        tagged (Tagged): Their contents.
        span (dict[str, Any]): The first and the last row of the part.
        """
        notes = {"part": span, "counts": tagged.counts.to_json()}
        write_synced(self.failed, tagged.failed, self.parts)
        write_synced(self.notes, json.dumps(notes).encode(), self.parts)
        write_synced(self.tagged, tagged.data, self.parts)
        for folder in (self.parts, self.folder):
            sync_folder(folder)

    def is_done(self) -> bool:
        """RETURNS (bool): Whether all files are there.

        That of the tagged rows is written last, but after a loss of power the names in
        its folder may be there and those in the other one not.
        """
        return all(map(Path.is_file, (self.tagged, self.notes, self.failed)))

    def read_notes(self) -> tuple[dict[str, Any], TagCounts]:
        """RETURNS (tuple[dict[str, Any], TagCounts]): What `write` was given."""
        notes = json.loads(self.notes.read_text(encoding="utf8"))
        return notes["part"], TagCounts.from_json(notes["counts"])


@dataclass
class TextPart:
    """Rows that are tagged at once, a part for `parallel.write_parts`.

    files (PartFiles): Where they go.
    settings (TagSettings): How they are tagged.
    rows (list[TextRow]): The rows, in the order of the corpus.
    size (int): Their share of the corpus, in bytes.
    """

    files: PartFiles
    settings: TagSettings
    rows: list[TextRow] = field(default_factory=list)
    size: int = 0

    def is_done(self) -> bool:
        """RETURNS (bool): Whether the part need not be tagged again."""
        return self.files.is_done()

    def write(self) -> int:
        """Tag the rows and write the files.

        RETURNS (int): How many words there are.
        """
        tagged = get_tagger(self.settings).tag(self.rows)
        self.files.write(tagged, self.describe())
        return_free_memory()
        return tagged.counts.words

    def describe(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): Name, the first and the last row."""
        first, last = self.rows[0], self.rows[-1]
        return {
            "file": self.files.tagged.name,
            "first": f"{first.file}:{first.number}",
            "last": f"{last.file}:{last.number}",
        }


def cut_into_parts(
    rows: Iterable[TextRow],
    size: int,
    *,
    folder: Path,
    parts: Path,
    settings: TagSettings,
) -> Iterator[TextPart]:
    """Cut a corpus into parts, which depend on nothing but its rows and the size.

    rows (Iterable[TextRow]): The rows.
    size (int): The characters of a part, each row counted with `PER_ROW` more.
    folder (Path): The folder of the tagged rows.
    parts (Path): The folder of the other files.
    settings (TagSettings): How they are tagged.
    YIELDS (TextPart): The parts.
    """
    number = characters = 0

    def begin() -> TextPart:
        return TextPart(PartFiles(folder, parts, number, settings.form), settings)

    part = begin()
    for row in rows:
        part.rows.append(row)
        part.size += row.size
        characters += len(row.text) + PER_ROW
        if characters >= size:
            yield part
            number, characters = number + 1, 0
            part = begin()
    if part.rows:
        yield part


@lru_cache(maxsize=1)
def get_tagger(settings: TagSettings) -> Tagger:
    """Load a pipeline, once in a process.

    settings (TagSettings): The settings.
    RETURNS (Tagger): The tagger.
    """
    return Tagger(settings)


def start_tagging() -> None:
    """Prepare a process that tags: one thread, since there are as many processes."""
    import torch

    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
