"""Loading a saved pipeline, and finding the component of this package in it."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Errors, NunerError

if TYPE_CHECKING:
    from spacy.language import Language

    from .label_pipe import LabelPipe


def load_pipeline(name: str | Path) -> "Language":
    """Load any pipeline.

    name (str | Path): As for `spacy.load`.
    RETURNS (Language): The pipeline. Its tokenizer takes long stretches in parts.
    RAISES (NunerError): N650 if it can't be loaded; what components of this package
        raise.
    """
    import spacy

    from ..tokenizers import guard_tokenizer

    try:
        nlp = spacy.load(name)
    except NunerError:
        raise
    except Exception as error:  # whatever a component raises when it is loaded
        reason = f"{type(error).__name__}: {error}"
        raise NunerError(Errors.N650, name=name, reason=reason) from error
    guard_tokenizer(nlp)
    return nlp


def load_pipe(
    source: str | Path, pipe_name: str | None
) -> "tuple[Language, LabelPipe]":
    """Load a pipeline with a component of this package.

    source (str | Path): As for `spacy.load`.
    pipe_name (str | None): Name of a nuner_concepts or nuner_ner; None for the first.
    RETURNS (tuple[Language, LabelPipe]): The pipeline and the component.
    RAISES (NunerError): N513 if it has no such component; what `load_pipeline` raises.
    """
    from .label_pipe import LabelPipe

    nlp = load_pipeline(source)
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, LabelPipe) and pipe_name in (None, name):
            return nlp, pipe
    found = ", ".join(nlp.pipe_names) or "no components"
    raise NunerError(Errors.N513, path=source, found=found)
