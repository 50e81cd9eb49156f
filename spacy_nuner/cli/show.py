"""`spacy nuner show`: the concepts of a text as a page and a picture."""

from pathlib import Path
from typing import Any

import typer

PAGE = "spans.html"
PICTURE = "spans.png"


def show(
    source: str = typer.Argument(
        ..., help="Pipeline with nuner_concepts, or a backbone with a concept encoder"
    ),
    text: str = typer.Argument(..., help="The text, or a .txt file: a text a line"),
    output_dir: Path = typer.Argument(..., help=f"Folder for {PAGE} and {PICTURE}"),
    concepts: list[str] = typer.Option(
        [],
        help="With a backbone: names of concepts, or one .json file with an object of "
        "name -> description; with a pipeline: to be added to those that it knows",
    ),
    threshold: float | None = typer.Option(
        None, min=0, max=1, help="Probability over which a span belongs to a concept"
    ),
    pipe_name: str = typer.Option("nuner_concepts", help="Name of the component"),
    lang: str = typer.Option("en", help="Language of the text, with a backbone"),
    png: bool = typer.Option(
        False, "--png", help=f"Take {PICTURE} of the page; needs Chromium or Chrome"
    ),
) -> None:
    """Mark the concepts of a text and draw them, overlapping ones one under another.

    On the page a label shows the score of its span under the mouse.
    """
    from wasabi import msg

    from ..files import replacing
    from ..pipeline.display import render_page
    from ._browser import take_picture
    from .calibrate import NO_THRESHOLD

    nlp = _load(source, _read_concepts(concepts), pipe_name, lang)
    pipe: Any = nlp.get_pipe(pipe_name)
    if threshold is not None:
        pipe.cfg["threshold"] = threshold
        if pipe.cfg["exclusive"]:
            msg.info(NO_THRESHOLD)
    docs = list(nlp.pipe(_read_texts(text)))
    output_dir.mkdir(parents=True, exist_ok=True)
    with replacing(output_dir / PAGE) as beside:
        title = f"Concepts found by {source}"
        page = render_page(docs, spans_key=pipe.key, title=title)
        beside.write_text(page, encoding="utf8")
    for doc in docs:
        group = doc.spans[pipe.key]
        scores = group.attrs["scores"]
        rows = [
            (s.text, s.label_, f"{p:.2f}") for s, p in zip(group, scores, strict=True)
        ]
        msg.table(rows, header=("span", "concept", "score"), divider=True)
    if png:
        with replacing(output_dir / PICTURE) as beside:
            take_picture(output_dir / PAGE, beside)
        msg.good(f"Picture: {output_dir / PICTURE}")
    msg.good(f"Page: {output_dir / PAGE}")


def _read_texts(text: str) -> list[str]:
    from ..errors import Errors, NunerError

    if not text.endswith(".txt"):
        return [text]
    try:
        lines = Path(text).read_text(encoding="utf8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        todo = "Name a text file in UTF-8."
        raise NunerError(Errors.N005, path=text, reason=error, todo=todo) from error
    return [line for line in lines if line.strip()]


def _read_concepts(concepts: list[str]) -> dict[str, str | None]:
    import srsly

    from ..errors import Errors, NunerError

    if len(concepts) != 1 or not concepts[0].endswith(".json"):
        return dict.fromkeys(concepts)
    try:
        told = srsly.read_json(concepts[0])
        return {str(name): described for name, described in told.items()}
    except (OSError, ValueError, AttributeError) as error:
        todo = "Expected is a JSON object of name -> description (or null)."
        raise NunerError(
            Errors.N005, path=concepts[0], reason=error, todo=todo
        ) from error


def _load(source: str, concepts: dict[str, str | None], name: str, lang: str) -> Any:
    import spacy
    from spacy.util import is_package

    from ..errors import Errors, NunerError

    if not (Path(source) / "meta.json").is_file() and not is_package(source):
        if not concepts:
            raise NunerError(Errors.N507, name=source)
        nlp = spacy.blank(lang)
        settings = {"backbone": source, "concepts": concepts}
        nlp.add_pipe("nuner_concepts", name, config=settings)
        return nlp
    try:
        nlp = spacy.load(source)
        pipe: Any = nlp.get_pipe(name)
    except (OSError, KeyError) as error:
        todo = "Name a pipeline that has the component (--pipe-name)."
        raise NunerError(Errors.N005, path=source, reason=error, todo=todo) from error
    for label, description in concepts.items():
        pipe.add_label(label, description)
    return nlp
