"""Sentences of a toy language, in which a tiny encoder learns types in seconds."""

from spacy_nuner.fewshot.episodes import Sentence

FISH = ["salmon", "trout", "big pike", "carp", "eel", "cod"]
TREES = ["oak", "elm", "old beech", "ash", "yew", "fir"]
# What stands in front of a mention, by its type.
BEFORE = {"fish": "we caught", "tree": "they felled", "metal": "we melted"}
BEFORE["tool"] = "they used"
BEHIND = "over there"


def make_sentence(name: str, mention: str) -> Sentence:
    """A sentence with one mention of a type."""
    before, words, behind = BEFORE[name].split(), mention.split(), BEHIND.split()
    labels = ["O"] * len(before) + [name] * len(words) + ["O"] * len(behind)
    return Sentence((*before, *words, *behind), tuple(labels))


def write_conll(path, types) -> None:
    """Write a sentence for each type and each mention, as words and tags."""
    lines = []
    for name in types:
        for mention in (*FISH, *TREES):
            one = make_sentence(name, mention)
            starts = {start for start, _, _ in one.find_entities()}
            for i, (word, label) in enumerate(zip(one.words, one.labels, strict=True)):
                tag = (
                    label if label == "O" else f"{'B' if i in starts else 'I'}-{label}"
                )
                lines.append(f"{word}\t{tag}")
            lines.append("")
    path.write_text("\n".join(lines))


TEXTS = [
    " ".join(make_sentence(name, w).words) for name in BEFORE for w in FISH + TREES
]
TEXTS += ["a fish tall tree metal tool", "salmon trouts oak-tree ! Yes saw an in it"]
