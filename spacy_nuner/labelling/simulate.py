"""Rounds of labelling with the labels of a set as the person: what suggestions save.

A run begins with a recogniser that knows the labels by their names alone. In each round
sentences are suggested, get the labels that the set has for them, and `nuner_ner` is
trained anew on all that is labelled by then.
"""

import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import load_config

from ..encoders.folder import INFO_FILE
from ..errors import Errors, NunerError
from ..fewshot.compare import find_backbones
from ..fewshot.zero_shot import make_tagger
from ..files import find_shipped, hash_file, write_whole
from ..outputs import check_output, claimed
from ..pipeline.label_vectors import find_label_vectors
from ..pipeline.labels import Label
from ..readers.sources import hash_input
from ..tokenizers import blank
from .retrain import train_again
from .strategies import Strategy
from .suggest import Sentence, suggest_tasks
from .tasks import Task
from .uncertainty import Judge

CONFIG = "configs/ner.cfg"
BATCH_SIZE = 128
# One more with each change of training or of strategies, after which scores of before
# can't be compared.
METHOD = 2


@dataclass(frozen=True)
class Round:
    """What a round came to.

    sentences, words, mentions (int): What is labelled after it.
    f1 (float): Entity F1 on the test set, from 0 to 1.
    suggested (float | None): Of the spans that the sentences of this round have, the
        share that stood in the suggestion with these borders and this label.
    texts (list[str]): The sentences of this round.
    seconds (float): How long it took.
    """

    sentences: int
    words: int
    mentions: int
    f1: float
    suggested: float | None
    texts: list[str]
    seconds: float


@dataclass(frozen=True)
class Run:
    """A simulated evening: its settings and the rounds that are done.

    dataset (str): What the data set is called.
    by (Strategy): The strategy.
    seed (int): Of the sentences to choose from, the choice and the trainings.
    settings (dict[str, Any]): Whatever else the scores depend on, as JSON has it.
    rounds (list[Round]): The first is that of the names alone.
    """

    dataset: str
    by: Strategy
    seed: int
    settings: dict[str, Any]
    rounds: list[Round] = field(default_factory=list)

    def get_path(self, root: Path) -> Path:
        """RETURNS (Path): Where it lies below a folder of results."""
        return root / self.dataset / self.by / f"seed{self.seed}.json"

    def to_disk(self, root: Path) -> None:
        """Write the run as JSON.

        root (Path): The folder of results.
        """
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        write_whole(self.get_path(root), text)

    @classmethod
    def from_disk(cls, path: Path) -> Self:
        """Read a run. RAISES (NunerError): N716 if the file is something else."""
        try:
            data = json.loads(path.read_text(encoding="utf8"))
            data["rounds"] = [Round(**one) for one in data["rounds"]]
            return cls(**data)
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise NunerError(Errors.N716, path=path, reason=error) from error

    def resume(self, root: Path) -> Self:
        """Find what is done of the run.

        root (Path): The folder of results.
        RETURNS (Run): The run that is there, if its settings are those of this one;
            else this one.
        RAISES (NunerError): N716 if the file is something else.
        """
        path = self.get_path(root)
        if not path.is_file():
            return self
        found = self.from_disk(path)
        return found if found.settings == self.settings else self


def get_settings(
    train: str | Path,
    test: str | Path,
    *,
    backbone: str,
    labels: Mapping[str, Label],
    n: int,
    steps: int | None,
    pool: int,
    test_limit: int,
    lang: str,
) -> dict[str, Any]:
    """Collect what the scores of a run depend on, but for its strategy and its seed.

    train, test (str | Path): The labelled sets.
    backbone (str): The backbone, which has a concept encoder.
    labels (Mapping[str, Label]): The labels and what they mean.
    n (int): Sentences in each round.
    steps (int | None): Steps of each training; None for those of configs/ner.cfg.
    pool, test_limit (int): Sentences to choose from and to score on, 0 for all.
    lang (str): The language of the tokenizer for texts.
    RETURNS (dict[str, Any]): The settings, as JSON has them.
    RAISES (NunerError): N625 if the backbone has no concept encoder; what `hash_input`
        and `find_backbones` raise.
    """
    folder = find_label_vectors(backbone)
    if folder is None:
        raise NunerError(Errors.N625, name=backbone)
    (found,) = find_backbones([backbone], names=["backbone"], layers=["last"])
    # It recommends the layers that configs/ner.cfg takes.
    info = {"info": hash_file(folder / INFO_FILE)}
    config = load_config(find_shipped(CONFIG)).to_str()
    return {
        "method": METHOD,
        "backbone": found.naming_identity | info,
        "data": {"train": hash_input(train), "test": hash_input(test)},
        "lang": lang,
        "labels": {label: known.to_setting() for label, known in labels.items()},
        "config": hashlib.sha256(config.encode()).hexdigest(),
        "n": n,
        "steps": steps,
        "pool": pool,
        "test_limit": test_limit,
    }


def read_runs(root: Path) -> list[Run]:
    """Read every run below a folder.

    root (Path): The folder of results.
    RETURNS (list[Run]): The runs, ordered by path.
    RAISES (NunerError): N716 if a file is no run.
    """
    return [Run.from_disk(path) for path in sorted(root.glob("*/*/seed*.json"))]


def simulate_run(
    run: Run,
    output: Path,
    *,
    pool: Sequence[Doc],
    test: Sequence[Doc],
    labels: Mapping[str, Label],
    backbone: str,
    rounds: int,
    n: int,
    steps: int | None = None,
    lang: str = "en",
    on_round: Callable[[], None] = lambda: None,
) -> Run:
    """Go through the rounds that are not done yet.

    run (Run): The run as it is planned. One that is there with the same settings goes
        on where it was.
    output (Path): The folder of results; written after each round.
    pool (Sequence[Doc]): The labelled sentences to choose from, entities in `doc.ents`.
    test (Sequence[Doc]): The labelled sentences to score on.
    labels (Mapping[str, Label]): The labels and what they mean.
    backbone (str): The backbone, which has a concept encoder.
    rounds (int): How many rounds.
    n (int): Sentences in each.
    steps (int | None): Steps of each training; None for those of configs/ner.cfg.
    lang (str): The language of the tokenizer.
    on_round (Callable[[], None]): Called after each round.
    RETURNS (Run): The run with all its rounds.
    RAISES (NunerError): N625 if the backbone has no concept encoder, N716 if there is
        something else in the place of the run; what `claimed` raises.
    """
    path = check_output(run.get_path(output))
    gold = {doc.text: doc for doc in pool}
    with claimed(path, "simulate"):
        run = run.resume(output)

        def make(docs: Sequence[Doc]) -> Language:
            return _make(backbone, labels, docs, seed=run.seed, steps=steps, lang=lang)

        nlp: Language | None = None
        while len(run.rounds) <= rounds:
            start = time.perf_counter()
            done = [gold[text] for one in run.rounds for text in one.texts]
            if nlp is None:
                nlp = make(done)
            chosen: list[Task] = []
            share = None
            if run.rounds:
                chosen = suggest_tasks(
                    Judge(nlp),
                    [Sentence(text) for text in gold],
                    n,
                    by=run.by,
                    labelled=done,
                    seed=_get_seed(run),
                )
                if not chosen:
                    # Nothing is left to choose from.
                    break
                share = get_share(chosen, gold)
                done += [gold[task.text] for task in chosen]
                nlp = make(done)
            new = Round(
                sentences=len(done),
                words=sum(map(len, done)),
                mentions=sum(len(doc.ents) for doc in done),
                f1=get_f1(nlp, test),
                suggested=share,
                texts=[task.text for task in chosen],
                seconds=round(time.perf_counter() - start, 2),
            )
            run = replace(run, rounds=[*run.rounds, new])
            run.to_disk(output)
            on_round()
    return run


def make_config(backbone: str, labels: Mapping[str, Label], *, lang: str = "en") -> Any:
    """The shipped config of `nuner_ner` for a backbone and labels.

    backbone (str): The backbone.
    labels (Mapping[str, Label]): The labels; those without an example are known too.
    lang (str): The language, whose tokenizer is that of a blank pipeline.
    RETURNS (Config): For `train_again`.
    """
    overrides = {"paths.backbone": backbone}
    config = load_config(find_shipped(CONFIG), overrides=overrides)
    config["nlp"]["lang"] = lang
    config["nlp"]["tokenizer"] = blank(lang).config["nlp"]["tokenizer"]
    config["components"]["nuner_ner"]["labels"] = [
        {"label": label, "name": known.name, "description": known.description}
        for label, known in labels.items()
    ]
    return config


def _make(
    backbone: str,
    labels: Mapping[str, Label],
    docs: Sequence[Doc],
    *,
    seed: int,
    steps: int | None,
    lang: str,
) -> Language:
    """Train on what is labelled; without a mention labels are known by their names."""
    if not any(doc.ents for doc in docs):
        return make_tagger(backbone, labels, lang=lang)
    config = make_config(backbone, labels, lang=lang)
    return train_again(config, docs, seed=seed, steps=steps)


def _get_seed(run: Run) -> int:
    return 1000 * run.seed + len(run.rounds)


def get_share(tasks: Sequence[Task], gold: Mapping[str, Doc]) -> float | None:
    """How much of the labels stands in suggestions already.

    tasks (Sequence[Task]): The suggestions.
    gold (Mapping[str, Doc]): Text -> the labelled sentence.
    RETURNS (float | None): The share of the labelled spans that are set with the same
        borders and label; None if there is none.
    """
    right = total = 0
    for task in tasks:
        marks = {mark[:3] for mark in task.marks}
        spans = _get_places(gold[task.text])
        right += len(marks & spans)
        total += len(spans)
    return right / total if total else None


def get_f1(nlp: Language, docs: Sequence[Doc]) -> float:
    """Score a pipeline on labelled sentences, read as texts.

    nlp (Language): The pipeline.
    docs (Sequence[Doc]): The sentences.
    RETURNS (float): Micro F1 of entities, from 0 to 1.
    """
    right = found = total = 0
    tagged = nlp.pipe((doc.text for doc in docs), batch_size=BATCH_SIZE)
    for doc, predicted in zip(docs, tagged, strict=True):
        ours, theirs = _get_places(doc), _get_places(predicted)
        right += len(ours & theirs)
        found += len(theirs)
        total += len(ours)
    return 2 * right / max(found + total, 1)


def _get_places(doc: Doc) -> set[tuple[int, int, str]]:
    return {(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents}


def take(docs: Sequence[Doc], limit: int, *, seed: int = 0) -> list[Doc]:
    """Take some of the sentences, the same ones each time.

    docs (Sequence[Doc]): The sentences.
    limit (int): How many at most; 0 for all.
    seed (int): Another seed, other sentences.
    RETURNS (list[Doc]): In their order, each text once.
    """
    distinct = list({doc.text: doc for doc in docs if doc.text.strip()}.values())
    if not limit or len(distinct) <= limit:
        return distinct
    order = sorted(random.Random(seed).sample(range(len(distinct)), limit))
    return [distinct[i] for i in order]
