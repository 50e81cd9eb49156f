"""`spacy nuner show`: the spans of a text as a page."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ._util import OVERWRITE, msg

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

    from ..pipeline.label_pipe import LabelPipe
    from ..pipeline.labels import Label

PAGE = "spans.html"


def show_cli(
    source: str = typer.Argument(
        ..., help="Pipeline with nuner_concepts or nuner_ner, or a backbone"
    ),
    text: str = typer.Argument(..., help="The text, or a .txt file: a text a line"),
    output_dir: Path = typer.Argument(..., help=f"Folder for {PAGE}"),
    labels: str = typer.Option(
        "",
        help='Labels such as "person, city", or a .json file with labels and what they '
        "mean; with a pipeline: to be added to those that it knows",
    ),
    threshold: float | None = typer.Option(
        None, min=0, max=1, help="Probability over which a span belongs to a label"
    ),
    pipe_name: str | None = typer.Option(
        None, help="Name of the component [default: the first one]"
    ),
    lang: str = typer.Option("en", help="Language of the text, with a backbone"),
    overwrite: bool = OVERWRITE,
) -> None:
    """Mark the spans of a text and draw them, overlapping ones one under another.

    On the page a label shows the score of its span under the mouse.
    """
    from ..pipeline.labels import parse_labels, read_labels
    from ._util import NO_THRESHOLD, split_list

    if labels.endswith(".json"):
        known = read_labels(labels)
    else:
        known = parse_labels(split_list(labels), source="--labels")
    docs, pipe = show(
        source,
        read_texts(text),
        output_dir,
        labels=known,
        threshold=threshold,
        pipe_name=pipe_name,
        lang=lang,
        overwrite=overwrite,
    )
    if threshold is not None and pipe.exclusive:
        msg.info(NO_THRESHOLD)
    for doc in docs:
        group = doc.spans[pipe.spans_key]
        scores = group.attrs["scores"]
        rows = [
            (s.text, s.label_, f"{p:.2f}") for s, p in zip(group, scores, strict=True)
        ]
        msg.table(rows, header=("span", "label", "score"), divider=True)
    msg.good(f"Page: {output_dir / PAGE}")


def show(
    source: str | Path,
    texts: Sequence[str],
    output_dir: str | Path,
    *,
    labels: "Mapping[str, Label]",
    threshold: float | None = None,
    pipe_name: str | None = None,
    lang: str = "en",
    overwrite: bool = False,
) -> "tuple[list[Doc], LabelPipe]":
    """Mark the spans of texts and write a page that shows them.

    source (str | Path): A saved pipeline, or a backbone with a concept encoder.
    texts (Sequence[str]): The texts.
    output_dir (str | Path): Folder for the page.
    labels (Mapping[str, Label]): What to look for; with a pipeline besides what it
        knows.
    threshold (float | None): The probability over which a span belongs to a label.
    pipe_name (str | None): Name of the component; None for the first one.
    lang (str): Language of the texts, with a backbone.
    overwrite (bool): Replace a page that this did not make, too.
    RETURNS (tuple[list[Doc], LabelPipe]): The docs, and the component.
    RAISES (NunerError): N053 if UTF-8 can't hold a text or the name of the source,
        N507 for a backbone without labels; what `load_pipe` and `write_files`
        raise.
    """
    from ..outputs import check_output, write_files
    from ..pipeline.display import render_page
    from ..pipeline.nuner_concepts import NunerConcepts
    from ..utf8 import check_utf8

    check_utf8(source, "the pipeline or backbone")
    for text in texts:
        check_utf8(text, "the text")
    path = check_output(output_dir, inputs=[source], folder=True) / PAGE
    with write_files([path], command="show", overwrite=overwrite) as folder:
        nlp, pipe = _load(source, labels, pipe_name, lang)
        if threshold is not None and isinstance(pipe, NunerConcepts):
            pipe.threshold = threshold
        docs = list(nlp.pipe(texts))
        title = f"Spans found by {source}"
        page = render_page(docs, spans_key=pipe.spans_key, title=title)
        (folder / PAGE).write_text(page, encoding="utf8")
    return docs, pipe


def read_texts(text: str) -> list[str]:
    """Read the texts that an argument names.

    text (str): A text, or the name of a .txt file.
    RETURNS (list[str]): The text, or the lines of the file that are not empty.
    RAISES (NunerError): N515 if the file can't be read.
    """
    from ..errors import Errors, NunerError

    if not text.endswith(".txt"):
        return [text]
    try:
        lines = Path(text).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise NunerError(Errors.N515, path=text, reason=error) from error
    return [line for line in lines if line.strip()]


def _load(
    source: str | Path, labels: "Mapping[str, Label]", name: str | None, lang: str
) -> "tuple[Language, LabelPipe]":
    from spacy.util import is_package

    from ..errors import Errors, NunerError
    from ..tokenizers import blank
    from ._pipeline import load_pipe

    pipe: Any
    if os.path.isfile(Path(source) / "meta.json") or is_package(str(source)):
        nlp, pipe = load_pipe(source, name)
    elif labels:
        nlp = blank(lang)
        config = {"backbone": str(source)}
        pipe = nlp.add_pipe("nuner_concepts", name, config=config)
    else:
        raise NunerError(Errors.N507, name=source)
    for label, known in labels.items():
        pipe.add_label(label, known.description, name=known.name)
    return nlp, pipe
