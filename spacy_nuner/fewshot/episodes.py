"""Episodes: N types with K to 2K mentions to learn from, and as many to score on.

As Few-NERD has them (Ding et al., ACL 2021, https://aclanthology.org/2021.acl-long.248):
sampled from a labelled set, or read from the files that its authors published.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ..corpus.labelled_docs import read_docs
from ..errors import Errors, NunerError

OUTSIDE = "O"
PARTS = ("support", "query")
EPISODES_SUFFIX = ".jsonl"
# Draws of types for one episode. In the INTER test part of Few-NERD the first one was
# enough in each of 30 episodes of 5 or 10 types with 1 or 5 mentions.
ATTEMPTS = 100


@dataclass(frozen=True)
class Sentence:
    """A sentence with IO labels, by which neighbours of one type are one entity.

    words (tuple[str, ...]): Its words.
    labels (tuple[str, ...]): The type of each word, or "O".
    """

    words: tuple[str, ...]
    labels: tuple[str, ...]

    def find_entities(self) -> list[tuple[int, int, str]]:
        """RETURNS (list[tuple[int, int, str]]): Start, end and type of each entity."""
        return find_entities(self.labels)

    @property
    def types(self) -> set[str]:
        """The types of its entities."""
        return set(self.labels) - {OUTSIDE}


@dataclass(frozen=True)
class Episode:
    """What a model adapts to, and what it is scored on.

    types (list[str]): The types, sorted; sentences have no others.
    support (list[Sentence]): To learn from.
    query (list[Sentence]): To score on; none of them is in the support set.
    """

    types: list[str]
    support: list[Sentence]
    query: list[Sentence]

    def count_shots(self) -> int:
        """RETURNS (int): Mentions that the support set has of its rarest type."""
        counts = _count(self.support)
        return min(counts[name] for name in self.types)


def find_entities(labels: Iterable[str]) -> list[tuple[int, int, str]]:
    """Find the runs of one label.

    labels (Iterable[str]): A label for each word.
    RETURNS (list[tuple[int, int, str]]): Start, end (exclusive) and label of each run
        of a label that is not "O".
    """
    found = []
    start = 0
    for label, run in groupby(labels):
        end = start + sum(1 for _ in run)
        if label != OUTSIDE:
            found.append((start, end, label))
        start = end
    return found


def read_sentences(path: str | Path, *, lang: str = "en") -> list[Sentence]:
    """Read a labelled set of any form that `read_docs` takes.

    path (str | Path): The set.
    lang (str): Language of the tokenizer for texts.
    RETURNS (list[Sentence]): Its sentences, in order.
    RAISES (NunerError): What `read_docs` raises; N614 if no sentence has an entity.
    """
    docs = read_docs(path, lang=lang)
    if not any(doc.ents for doc in docs):
        raise NunerError(Errors.N614, count=len(docs))
    return [
        Sentence(
            tuple(token.text for token in doc),
            tuple(token.ent_type_ or OUTSIDE for token in doc),
        )
        for doc in docs
        if len(doc)
    ]


class EpisodeSampler:
    """Samples N-way K~2K-shot episodes as Few-NERD's authors do.

    Types are drawn, then sentences with entities of these types alone, in random order:
    one is taken if a type still lacks mentions and none gets more than 2K. What is
    refused once stays refused, so one walk over the sentences does what drawing until
    nothing is missing does, and ends.
    """

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        """sentences (Sequence[Sentence]): The pool; repeated ones count once."""
        self.sentences = list(dict.fromkeys(sentences))
        self._counts = [_count([sentence]) for sentence in self.sentences]
        self.types = sorted(set().union(*self._counts))

    def sample(
        self, ways: int, shots: int, *, query_shots: int | None = None, seed: int = 0
    ) -> Episode:
        """Sample an episode.

        ways (int): The number of types.
        shots (int): Mentions of each in the support set: this many to twice as many.
        query_shots (int | None): The same for the query set; None for `shots`.
        seed (int): Of the episode.
        RETURNS (Episode): The same for the same pool and arguments.
        RAISES (NunerError): N642 if the pool has no such episode, or none was found.
        """
        wanted = {"support": shots, "query": query_shots or shots}
        if 0 < ways <= len(self.types) and min(wanted.values()) > 0:
            # Of a text the hash is the same everywhere.
            rng = random.Random(f"{ways} {shots} {wanted['query']} {seed}")
            for _ in range(ATTEMPTS):
                types = sorted(rng.sample(self.types, ways))
                found = self._walk(set(types), wanted, rng)
                if found is not None:
                    return Episode(types, *found)
        raise NunerError(
            Errors.N642,
            ways=ways,
            shots=shots,
            twice=2 * shots,
            sentences=len(self.sentences),
            types=len(self.types),
            attempts=ATTEMPTS,
        )

    def _walk(
        self, types: set[str], wanted: dict[str, int], rng: random.Random
    ) -> list[list[Sentence]] | None:
        """Sentences of both sets; None if a type has too few mentions."""
        free = [i for i, counts in enumerate(self._counts) if counts.keys() <= types]
        parts = []
        for shots in wanted.values():
            rng.shuffle(free)
            have: Counter[str] = Counter()
            lacking = set(types)
            taken = []
            for i in free:
                new = self._counts[i]
                if lacking.isdisjoint(new):
                    continue
                if all(have[name] + new[name] <= 2 * shots for name in new):
                    taken.append(i)
                    have.update(new)
                    lacking = {name for name in lacking if have[name] < shots}
                    if not lacking:
                        break
            if lacking:
                return None
            parts.append([self.sentences[i] for i in taken])
            free = sorted(set(free) - set(taken))
        return parts


def is_episode_file(path: str | Path) -> bool:
    """Tell a file of episodes from a labelled set.

    path (str | Path): Anything.
    RETURNS (bool): Whether it is JSON Lines whose first line has a support set.
    """
    path = Path(path)
    if path.suffix != EPISODES_SUFFIX:
        return False
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        # Whatever it is, `read_docs` says what is wrong with it.
        return False
    return isinstance(first, dict) and PARTS[0] in first


def read_episodes(path: Path) -> list[Episode]:
    """Read episodes in the form in which Few-NERD's authors published theirs.

    A line of JSON for each: "support" and "query" have "word", a list of lists of
    words, and "label", the labels of these words: types, with or without B- and I-.

    path (Path): The file.
    RETURNS (list[Episode]): The episodes.
    RAISES (NunerError): N005 if the file can't be read, N644 if a line has another
        form.
    """
    episodes: list[Episode] = []
    try:
        with path.open(encoding="utf8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    episodes.append(_read_episode(path, number, line))
    except (OSError, UnicodeDecodeError) as error:
        todo = "Expected is a file of JSON Lines in UTF-8."
        raise NunerError(Errors.N005, path=path, reason=error, todo=todo) from error
    if not episodes:
        raise NunerError(Errors.N644, path=path, line=1, reason="it has no episode")
    return episodes


def _read_episode(path: Path, number: int, line: str) -> Episode:
    try:
        content = json.loads(line)
        support, query = (_read_part(content[part]) for part in PARTS)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise NunerError(Errors.N644, path=path, line=number, reason=reason) from error
    types = sorted(_count(support))
    other = sorted(set(_count(query)) - set(types))
    if not types or other:
        reason = f"the query set has {other[0]!r}, the support set has no such type"
        reason = reason if types else "the support set has no entity"
        raise NunerError(Errors.N644, path=path, line=number, reason=reason)
    return Episode(types, support, query)


def _read_part(part: Any) -> list[Sentence]:
    sentences = []
    for words, labels in zip(part["word"], part["label"], strict=True):
        if len(words) != len(labels):
            raise ValueError(f"{len(words)} words have {len(labels)} labels")
        if not all(isinstance(one, str) and one for one in (*words, *labels)):
            raise ValueError("a word or a label is no text, or empty")
        if words:
            sentences.append(Sentence(tuple(words), tuple(map(_read_label, labels))))
    if not sentences:
        raise ValueError("a set has no sentence")
    return sentences


def _read_label(label: str) -> str:
    return label[2:] if label[:2] in ("B-", "I-") else label


def _count(sentences: Iterable[Sentence]) -> Counter[str]:
    return Counter(
        label for sentence in sentences for _, _, label in sentence.find_entities()
    )
