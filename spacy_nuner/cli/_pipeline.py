"""Loading a saved pipeline that has a component of this package."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language

    from ..pipeline.label_pipe import LabelPipe


def load_pipe(
    source: str | Path, pipe_name: str | None
) -> "tuple[Language, LabelPipe]":
    """Load a pipeline with a component of this package.

    source (str | Path): As for `spacy.load`.
    pipe_name (str | None): Name of a nuner_concepts or nuner_ner; None for the first.
    RETURNS (tuple[Language, LabelPipe]): The pipeline and the component.
    RAISES (NunerError): N513 if it has no such component; what `load_pipeline` raises.
    """
    from ..errors import Errors, NunerError
    from ..loading import load_pipeline
    from ..pipeline.label_pipe import LabelPipe

    nlp = load_pipeline(source)
    for name, pipe in nlp.pipeline:
        if isinstance(pipe, LabelPipe) and pipe_name in (None, name):
            return nlp, pipe
    found = ", ".join(nlp.pipe_names) or "no components"
    raise NunerError(Errors.N513, path=source, found=found)
