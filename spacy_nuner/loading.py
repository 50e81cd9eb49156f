"""Loading a saved pipeline, whatever is in it."""

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Errors, NunerError

if TYPE_CHECKING:
    from spacy.language import Language


def load_pipeline(name: str | Path) -> "Language":
    """Load any pipeline.

    name (str | Path): As for `spacy.load`.
    RETURNS (Language): The pipeline. Its tokenizer takes long stretches in parts.
    RAISES (NunerError): N650 if it can't be loaded; what components of this package
        raise.
    """
    import spacy

    from .tokenizers import guard_tokenizer

    try:
        nlp = spacy.load(name)
    except NunerError:
        raise
    except Exception as error:  # whatever a component raises when it is loaded
        reason = f"{type(error).__name__}: {error}"
        raise NunerError(Errors.N650, name=name, reason=reason) from error
    guard_tokenizer(nlp)
    return nlp
