"""Words folded for comparing: without case, blanks and the form of quotes."""

import re
import unicodedata
from collections.abc import Callable
from functools import cached_property, lru_cache

_STRAIGHT = str.maketrans(
    {**dict.fromkeys("‘’‚‛′´`", "'"), **dict.fromkeys("“”„‟″", '"')}
    | dict.fromkeys("‐‑‒–—−", "-")
)
# Fillers and variation selectors, which Unicode does not count among its format
# characters (Cf) though nobody sees them.
_FILLERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]"
)


@lru_cache(maxsize=4096)
def is_unseen(char: str) -> bool:
    """Tell what takes no ink: blanks, soft hyphens, joiners, marks of direction.

    char (str): A character.
    RETURNS (bool): Whether nobody can see it.
    """
    unseen = char.isspace() or unicodedata.category(char) in ("Cf", "Cc")
    return unseen or _FILLERS.match(char) is not None


def is_blank(words: str) -> bool:
    """Tell whether words mark nothing that can be seen.

    words (str): Such as those of an entity.
    RETURNS (bool): Whether each character is a blank or can't be seen.
    """
    return all(map(is_unseen, words))


@lru_cache(maxsize=4096)
def fold_character(char: str) -> str:
    """Fold a character.

    char (str): The character.
    RETURNS (str): Its compatible form, decomposed and case folded, with straight quotes
        and plain dashes; "" for what can't be seen.
    """
    straight = unicodedata.normalize("NFKD", char.translate(_STRAIGHT)).casefold()
    return "".join(one for one in straight if not is_unseen(one))


def fold_form(words: str) -> str:
    """Fold words.

    words (str): The words.
    RETURNS (str): What `fold_character` makes of each character, joined.
    """
    return "".join(map(fold_character, words))


# The most characters that are gone through for all entities of an answer, once each.
# Where there are more, marks are taken off without a look at the text: what takes
# minutes is no answer to a prompt, but 800 entities in half a megabyte.
MAX_SEARCHED = 400_000_000


class FoldedText:
    """A text in which words are looked up as `corpus.align` will find them."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, text: str | None, *, searches: int) -> "FoldedText | None":
        """Make one, unless that many searches in it take too long.

        text (str | None): The text, if it is known.
        searches (int): How many entities will be looked up.
        RETURNS (FoldedText | None): The text; None where there is none, or too much.
        """
        if text is None or len(text) * searches > MAX_SEARCHED:
            return None
        return cls(text)

    @cached_property
    def case(self) -> str:
        """The text without regard to case."""
        return self.text.casefold()

    @cached_property
    def form(self) -> str:
        """The text as `fold_form` makes it."""
        return fold_form(self.text)

    def steps(self) -> tuple[tuple[Callable[[str], str], Callable[[], str]], ...]:
        """RETURNS: How words are folded, and the text in which they are looked up then,
        the closest to what is written first."""
        return (
            (str, lambda: self.text),
            (str.casefold, lambda: self.case),
            (fold_form, lambda: self.form),
        )

    def holds(self, words: str) -> bool:
        """Tell whether words stand in the text, in any of the forms.

        words (str): The words.
        RETURNS (bool): Whether they do.
        """
        if is_blank(words):
            return False
        return any(fold(words) in text() for fold, text in self.steps())
