"""Loading a saved pipeline that has a component of this package."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language

    from ..pipeline.label_pipe import LabelPipe

NO_THRESHOLD = "nuner_ner has no threshold: the likeliest label of a token wins."


def load_pipe(
    source: str | Path, pipe_name: str | None
) -> "tuple[Language, LabelPipe]":
    """Load a pipeline and find its component.

    source (str | Path): A folder that `nlp.to_disk` made, or an installed package.
    pipe_name (str | None): Name of a nuner_concepts or nuner_ner; None for the first.
    RETURNS (tuple[Language, LabelPipe]): The pipeline and the component.
    RAISES (NunerError): N513 if there is no such pipeline or component.
    """
    import spacy

    from ..errors import Errors, NunerError
    from ..pipeline.label_pipe import LabelPipe
    from ..tokenizers import guard_tokenizer

    try:
        nlp = spacy.load(source)
    except NunerError:
        raise
    except Exception as error:  # whatever a component raises when it is loaded
        raise NunerError(Errors.N513, path=source, found=error) from error
    guard_tokenizer(nlp)
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, LabelPipe) and pipe_name in (None, name):
            return nlp, pipe
    found = ", ".join(nlp.pipe_names) or "no components"
    raise NunerError(Errors.N513, path=source, found=found)
