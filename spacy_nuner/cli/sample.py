"""`spacy nuner sample`: sentences out of any text."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import Errors, NunerError, Warnings
from ._util import (
    FIELD,
    MAX_DOCUMENTS,
    MAX_WORDS,
    MIN_WORDS,
    OVERWRITE,
    SPACY_LANG,
    SPLIT,
    SPLITTER,
    msg,
)

if TYPE_CHECKING:
    from ..annotate.sample import SampleReport


def sample_cli(
    source: str = typer.Argument(
        help="hub:NAME:CONFIG (such as hub:allenai/c4:en), a file of JSON Lines, text "
        "(plain, .gz, .bz2, .xz, .zst) or Parquet, a folder of those, or - for "
        "standard input"
    ),
    output: Path = typer.Argument(help="JSON Lines with id, text, source and doc"),
    n: int = typer.Option(help="How many distinct sentences to draw", min=1),
    seed: int = typer.Option(0, min=0, help="Another seed, another sample"),
    field: str = FIELD,
    splitter: str = SPLITTER,
    lang: str = SPACY_LANG,
    min_words: int = MIN_WORDS,
    max_words: int = MAX_WORDS,
    max_documents: int | None = MAX_DOCUMENTS,
    split: str = SPLIT,
    overwrite: bool = OVERWRITE,
) -> None:
    """Draw sentences from a source, each distinct one with the same chance."""
    report = sample(
        source,
        output,
        n=n,
        seed=seed,
        field=field,
        splitter=splitter,
        lang=lang,
        min_words=min_words,
        max_words=max_words,
        max_documents=max_documents,
        split=split,
        overwrite=overwrite,
    )
    if report.tally.total():
        found = report.tally.describe()
        msg.warn(Warnings.W201.format(source=source, found=found))
    if report.drawn < n:
        msg.warn(Warnings.W202.format(n=n, found=report.drawn))
    msg.good(
        f"{report.drawn:,} sentences in {output}, out of {report.sentences:,} of "
        f"{report.documents:,} documents ({report.outside:,} outside "
        f"{min_words} to {max_words} words)"
    )


def sample(
    source: str,
    output: Path,
    *,
    n: int,
    seed: int = 0,
    field: str = "text",
    splitter: str = "rule",
    lang: str = "en",
    min_words: int = 5,
    max_words: int = 80,
    max_documents: int | None = None,
    split: str = "train",
    overwrite: bool = False,
) -> "SampleReport":
    """Draw sentences from a source, each distinct one with the same chance.

    source (str): What `annotate.sample.read_documents` takes.
    output (Path): JSON Lines with id, text, source and doc.
    n (int): How many distinct sentences to draw.
    seed (int): Another seed, another sample.
    field (str): The field that holds the text.
    splitter (str): "rule", "line", or the name of a spaCy pipeline.
    lang (str): spaCy's code of the language.
    min_words (int): The shortest sentence, in words.
    max_words (int): The longest sentence, in words.
    max_documents (int | None): Stop reading after so many documents.
    split (str): The split of a data set on the hub.
    overwrite (bool): Replace a file that this did not make, too.
    RETURNS (SampleReport): What it was drawn from.
    RAISES (NunerError): N005, N006, N104, N109 or N201 if the source can't be read or
        holds no sentence, N010 or N202 without such a language or pipeline; what
        `write_files` raises.
    """
    import itertools

    from tqdm import tqdm

    from ..annotate.sample import (
        LINE,
        DistinctSample,
        SampleReport,
        draw_sample,
        load_splitter,
        read_documents,
    )
    from ..outputs import write_files

    with write_files(
        [output], command="sample", inputs=[source], overwrite=overwrite
    ) as folder:
        nlp = load_splitter(splitter, lang)
        report = SampleReport()
        documents = read_documents(
            source,
            tally=report.tally,
            field=field,
            split=split,
            seed=seed,
            by_line=splitter == LINE,
        )
        limited = itertools.islice(documents, max_documents)
        progress = tqdm(limited, unit=" documents", disable=None)
        drawn = DistinctSample(n, seed=seed)
        draw_sample(
            progress, nlp, drawn, report, min_words=min_words, max_words=max_words
        )
        if not report.drawn:
            found = (
                report.tally.describe() or f"{report.outside} outside the word limits"
            )
            reason = f"{report.documents} documents, no usable sentence: {found}"
            raise NunerError(Errors.N201, source=source, reason=reason)
        with (folder / output.name).open("wb") as file:
            file.writelines(drawn.records())
    return report
