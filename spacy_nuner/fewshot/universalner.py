"""UniversalNER: its conversation, a type a question, and its own rule of scoring.

After src/utils.py and src/eval/evaluate.py of universal-ner/universal-ner.
"""

import json
import re
import string
from collections.abc import Iterable, Mapping, Sequence

from spacy.tokens import Doc, Span
from spacy.util import filter_spans

from ..annotate.prompts import SLOT
from ..corpus.align import align
from ..readers.records import Entity

# As its model was trained on it; the type is put in place of {type}.
CONVERSATION = (
    "A virtual assistant answers questions from a user based on the provided text. "
    f"USER: Text: {SLOT} ASSISTANT: I've read this text.</s>USER: What describes "
    "{type} in the text? ASSISTANT:"
)
# How it is asked there: greedily, up to the end of the turn.
PARAMS = {"temperature": 0, "max_tokens": 256, "stop": "</s>"}
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def make_question(words: str) -> str:
    """Make the prompt for a type.

    words (str): What the type is called.
    RETURNS (str): The prompt, with a slot for the text.
    """
    return CONVERSATION.replace("{type}", words)


def read_strings(content: str) -> list[str]:
    """Read an answer, as its evaluation does.

    content (str): The answer.
    RETURNS (list[str]): The entities: a JSON list of strings that the answer begins
        with, up to the first bracket that closes. Anything else has none.
    """
    found = re.match(r"\[(.*?)\]", content.rpartition("ASSISTANT:")[2].strip())
    try:
        strings = json.loads(found[0]) if found else []
    except (ValueError, RecursionError):
        return []
    return strings if all(isinstance(one, str) for one in strings) else []


def find_ents(doc: Doc, strings: Mapping[str, Iterable[str]]) -> list[Span]:
    """Find the entities of an answer in a text, each wherever it occurs.

    doc (Doc): The text.
    strings (Mapping[str, Iterable[str]]): Label -> what was answered.
    RETURNS (list[Span]): The entities; of those that overlap the longest, of equals
        the first.
    """
    entities = [Entity(one, label) for label, ones in strings.items() for one in ones]
    return filter_spans(
        Span(doc, start, end, label=match.entity.concept)
        for match in align(doc, entities)
        for start, end in match.spans
    )


def normalise(text: str) -> str:
    """Write an entity as it is compared.

    text (str): The entity.
    RETURNS (str): In small letters, without punctuation, articles and extra blanks.
    """
    letters = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def score_strings(
    gold: Sequence[Doc], answers: Sequence[Mapping[str, Iterable[str]]]
) -> dict[str, float]:
    """Score answers by UniversalNER's own rule, which is not the F1 of spans.

    A text and a type are a pair of sets of normalised strings: what occurs twice counts
    once, and where it stands doesn't count.

    gold (Sequence[Doc]): The texts, entities in `doc.ents`.
    answers (Sequence[Mapping[str, Iterable[str]]]): Label -> what was answered, for
        each of them, of all labels that were asked about.
    RETURNS (dict[str, float]): `strings_p`, `strings_r` and `strings_f`, over all pairs
        together, from 0 to 1.
    """
    right = answered = there = 0
    for doc, answer in zip(gold, answers, strict=True):
        for label, strings in answer.items():
            named = {normalise(one) for one in strings}
            true = {normalise(ent.text) for ent in doc.ents if ent.label_ == label}
            right += len(named & true)
            answered += len(named)
            there += len(true)
    return {
        "strings_p": right / answered if answered else 0.0,
        "strings_r": right / there if there else 0.0,
        "strings_f": 2 * right / (answered + there) if right else 0.0,
    }
