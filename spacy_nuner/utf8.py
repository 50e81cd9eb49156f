"""Texts and paths for libraries that know UTF-8 alone."""

from .errors import Errors, NunerError


def check_utf8(text: object, what: str) -> None:
    """Refuse a text that UTF-8 can't hold.

    spaCy's vocabulary holds no other, and tokenizers, safetensors and Arrow open no
    file of another name.

    text (object): A text or path out of a file or from the command line.
    what (str): What it is, for the error.
    RAISES (NunerError): N053 if half of a surrogate pair is in it, by which Python also
        writes a byte that is not UTF-8.
    """
    try:
        str(text).encode("utf8")
    except UnicodeEncodeError as error:
        raise NunerError(Errors.N053, what=what, found=text) from error


def is_utf8(text: str) -> bool:
    """RETURNS (bool): Whether UTF-8 can hold a text: no half of a surrogate pair."""
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        return False
    return True


def replace_surrogates(text: str) -> str:
    """Replace halves of surrogate pairs, which no file and no database can hold.

    text (str): Any text.
    RETURNS (str): The text, as it was if it has none.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
