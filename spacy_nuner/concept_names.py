"""Names of concepts, folded so that one concept has one name."""

import re
import unicodedata
from functools import lru_cache

# The paper drops a SENTENCE that has an annotation with this concept.
REFUSED = frozenset({"concept"})

# What says of an annotation only that it is one, or its part of speech, which the
# prompt forbids. The first row is what the filter of numind/NuNER left in.
EMPTY_TYPES = frozenset(
    """
    action|attribute|entity|entity type|object
    abstract concept|abstract idea|abstract|aspect|category|concept|descriptor|element
    entity concept|entity name|entity type not specified|general|general concept
    generic|idea|item|keyword|misc|miscellaneous|n/a|named entity|none|not specified
    null|other|phrase|subject|term|thing|topic|type|undefined|unknown|unspecified|word
    adjective|adverb|conjunction|determiner|noun|part of speech|preposition|pronoun
    proper noun|verb
    """.strip()
    .replace("\n", "|")
    .replace("  ", "")
    .split("|")
)

# In 1,562 names of real NuNER data, 7,609 of assets/annotations and 1,164 of six
# other sets, two are longer: a clause on the state of a handbag, and a line of a
# balance sheet.
MAX_NAME = 60

_AROUND = " \"'`´“”‘’„«»‹›「」『』【】《》*_~.,;:!?-–—•·|<>="
# Soft hyphens, marks of direction and blanks of no width, which models and web pages
# leave behind. (Joiners stay: some scripts write with them.)
_UNSEEN = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F)]
    + [*range(0x2066, 0x206A)]
)
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


@lru_cache(maxsize=100_000)
def clean_concept(name: str) -> str:
    """Fold the name of a concept.

    NFKC, case folded, underscores and white space as single blanks, without quotes,
    brackets and punctuation around it and characters that can't be seen.

    name (str): The name as written, such as "“Job_Title”.".
    RETURNS (str): The folded name, such as "job title"; "" if nothing is left.
    """
    name = unicodedata.normalize("NFKC", name).casefold()
    # Folding the case can undo the normal form, such as for the dotted capital I.
    name = unicodedata.normalize("NFKC", name)
    name = " ".join(name.translate(_UNSEEN).replace("_", " ").split())
    before = None
    while name != before:
        before = name
        name = name.strip(_AROUND)
        if name and _BRACKETS.get(name[0]) == name[-1]:
            name = name[1:-1]
    return name


def readable_name(label: str) -> str:
    """Turn a label into the name of a concept, as the pre-training saw them.

    label (str): Such as "PERSON", "Restaurant_Name", "relationshipToHead".
    RETURNS (str): Such as "person", "restaurant name", "relationship to head".
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_\-/]+", " ", label))
    return clean_concept(words) or label
