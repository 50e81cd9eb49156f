"""LLMs in context: a model behind a server, with the same draws in its prompt."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from spacy.tokens import Doc, Span

from ..annotate.accounting import Account, Price
from ..annotate.client import Endpoint
from ..annotate.collect import Plan, Run, make_plan
from ..annotate.prompts import SLOT, Prompt, Settings
from ..annotate.responses import FILTERED, Api
from ..annotate.store import Store, Task
from ..errors import Errors, NunerError
from ..outputs import check_output, claimed
from ..pipeline.labels import Label
from ..readers.answers import TRUNCATED
from ..readers.docbin import copy_words
from ..readers.reasoning import strip_reasoning
from ..readers.sources import is_broken
from ..tokenizers import blank
from .cells import find_versions
from .compare import Dataset
from .draws import Draw
from .probe import OUTSIDE, Gold
from .results import Cell
from .universalner import (
    PARAMS,
    find_ents,
    make_question,
    read_strings,
    score_strings,
)


class Way(Protocol):
    """A way to ask for entities.

    prompts (list[Prompt]): What is asked about each text.
    """

    prompts: list[Prompt]

    def read(self, docs: Sequence[Doc], answers: Sequence[Sequence[str]]) -> list[Doc]:
        """Read answers.

        docs (Sequence[Doc]): The texts.
        answers (Sequence[Sequence[str]]): The answers to all prompts about each.
        RETURNS (list[Doc]): The texts with their entities.
        """

    def score(
        self, gold: Sequence[Doc], answers: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """Score answers by a rule of its own.

        gold (Sequence[Doc]): The texts, entities in `doc.ents`.
        answers (Sequence[Sequence[str]]): As for `read`.
        RETURNS (dict[str, float]): The scores, if it has such a rule.
        """


class SpacyLLM:
    """spacy-llm's `spacy.NER.v3`: all labels and the drawn sentences in one prompt.

    The prompt and the reading of answers are spacy-llm's own.
    """

    def __init__(self, labels: Mapping[str, Label], examples: Sequence[Doc]) -> None:
        """Render the prompt.

        labels (Mapping[str, Label]): The labels; descriptions are its definitions.
        examples (Sequence[Doc]): The drawn sentences, entities in `doc.ents`; without
            any, the prompt has the one of other labels that it brings along.
        RAISES (NunerError): N006 without spacy-llm, N628 if two labels have one name.
        """
        try:
            from spacy_llm.registry import registry
        except ImportError as error:
            raise NunerError(Errors.N006, package="spacy-llm", extra="llm") from error
        words = {label: known.get_words(label) for label, known in labels.items()}
        self._labels: dict[str, str] = {}
        for label, name in words.items():
            # It compares names without regard to case and blanks around them.
            if other := self._labels.get(_fold(name)):
                raise NunerError(Errors.N628, first=other, second=label, name=name)
            self._labels[_fold(name)] = label
        self._task = registry.llm_tasks.get("spacy.NER.v3")(
            labels=list(words.values()),
            label_definitions={
                words[label]: known.description
                for label, known in labels.items()
                if known.description
            },
            examples=[
                {
                    "text": doc.text,
                    "spans": [
                        {
                            "text": ent.text,
                            "is_entity": True,
                            "label": words[ent.label_],
                            # In the words of its own examples of training data.
                            "reason": f"is a {words[ent.label_]}",
                        }
                        for ent in doc.ents
                    ],
                }
                for doc in examples
            ],
        )
        slot = blank("xx").make_doc(SLOT)
        ((prompt,), _) = next(iter(self._task.generate_prompts([slot])))
        self.prompts = [Prompt("spacy.NER.v3", prompt)]

    def read(self, docs: Sequence[Doc], answers: Sequence[Sequence[str]]) -> list[Doc]:
        """RETURNS (list[Doc]): See `Way`."""
        given = [[strip_reasoning(one)[0] for one in contents] for contents in answers]
        read = list(self._task.parse_responses([[doc] for doc in docs], given))
        for doc in read:
            doc.ents = [
                Span(doc, ent.start, ent.end, label=self._labels[_fold(ent.label_)])
                for ent in doc.ents
            ]
        return read

    def score(
        self, gold: Sequence[Doc], answers: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """RETURNS (dict[str, float]): None, see `Way`."""
        return {}


def _fold(name: str) -> str:
    return name.strip().lower()


class UniversalNER:
    """UniversalNER's conversation: a question for each label, and no examples."""

    def __init__(self, labels: Mapping[str, Label]) -> None:
        """labels (Mapping[str, Label]): The labels, asked for by their names."""
        self._labels = list(labels)
        self.prompts = [
            Prompt("universalner", make_question(known.get_words(label)))
            for label, known in labels.items()
        ]

    def read(self, docs: Sequence[Doc], answers: Sequence[Sequence[str]]) -> list[Doc]:
        """RETURNS (list[Doc]): See `Way`."""
        for doc, strings in zip(docs, self._read_strings(answers), strict=True):
            doc.ents = find_ents(doc, strings)
        return list(docs)

    def score(
        self, gold: Sequence[Doc], answers: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """RETURNS (dict[str, float]): As `score_strings`."""
        return score_strings(gold, self._read_strings(answers))

    def _read_strings(
        self, answers: Sequence[Sequence[str]]
    ) -> list[dict[str, list[str]]]:
        return [
            dict(zip(self._labels, map(read_strings, contents), strict=True))
            for contents in answers
        ]


SPACY_LLM, UNIVERSALNER = "spacy-llm", "universalner"
# Name of a way -> how its requests are sent, and their parameters.
WAYS: dict[str, tuple[Api, dict[str, Any]]] = {
    SPACY_LLM: ("chat", {"temperature": 0}),
    # Its model has no chat template: the whole conversation is the prompt.
    UNIVERSALNER: ("completions", PARAMS),
}


@dataclass(frozen=True)
class Model:
    """A model behind a server.

    model (str): Its name there.
    name (str): What tables and folders call it.
    params (Mapping[str, Any]): Parameters of requests, besides those of the way.
    """

    model: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """A cell and what has to be asked for it.

    cell (Cell): The cell, without scores.
    way (Way): How it is asked for.
    settings (Sequence[Settings]): Of the requests, one for each prompt.
    """

    cell: Cell
    way: Way
    settings: Sequence[Settings]

    def make_tasks(self, texts: Path, store: Store) -> list[Task]:
        """Say what has to have an answer.

        texts (Path): What `write_texts` wrote.
        store (Store): The answers.
        RETURNS (list[Task]): A task for each prompt.
        """
        return [Task(texts, store, settings) for settings in self.settings]


def make_questions(
    dataset: Dataset,
    labels: Mapping[str, Label],
    draws: Iterable[Draw | None],
    model: Model,
    *,
    way: str,
    protocol: str,
    of: int,
) -> list[Question]:
    """Make the questions of a comparison, a cell for each draw.

    dataset (Dataset): The set; draws refer to its training part.
    labels (Mapping[str, Label]): All its labels.
    draws (Iterable[Draw | None]): What goes into the prompt; None for no example.
    model (Model): Who is asked.
    way (str): One of `WAYS`.
    protocol (str): How the draws were made.
    of (int): How many sentences the whole test part has.
    RETURNS (list[Question]): The questions. The name of a cell says where it is scored
        on fewer sentences than a head is.
    RAISES (NunerError): What `SpacyLLM` raises.
    """
    api, params = WAYS[way]
    params = {**params, **model.params}
    name = f"{protocol}-{way}"
    if len(dataset.test) < of:
        name += f"-on-{len(dataset.test)}"
    questions = []
    counts: dict[int, int] = {}
    for draw in draws:
        k = draw.k if draw else 0
        number = counts[k] = counts.get(k, -1) + 1
        docs = draw.docs if draw else []
        examples = [dataset.train[i] for i in docs]
        asked: Way = (
            SpacyLLM(labels, examples) if way == SPACY_LLM else UniversalNER(labels)
        )
        requests = [Settings(one, model.model, params, api) for one in asked.prompts]
        cell = Cell(
            dataset=dataset.name,
            backbone=model.name,
            layers=name,
            k=k,
            draw=number,
            sentences=len(docs),
            tokens=sum(map(len, examples)),
            mentions=draw.mentions if draw else {},
            settings={
                "encoder": {"name": model.model},
                "hidden_layers": [],
                "data": dataset.hashes,
                "test_sentences": len(dataset.test),
                "seed": draw.seed if draw else 0,
                "docs": docs,
                "names": {
                    label: {
                        "name": known.get_words(label),
                        "description": known.description,
                    }
                    for label, known in labels.items()
                },
                "threshold": None,
                "requests": [one.hash for one in requests],
            },
            protocol=protocol,
            head=way,
        )
        questions.append(Question(cell, asked, requests))
    return questions


def can_ask(text: str) -> bool:
    """Tell whether a text is asked about.

    text (str): The text.
    RETURNS (bool): Not one without a word, or one that `annotate` doesn't send, since
        it was decoded wrongly: they count as texts in which nothing was found.
    """
    return bool(text.strip()) and not is_broken(text)


def write_texts(docs: Sequence[Doc], path: Path) -> None:
    """Write the texts of a set as `annotate` reads them.

    docs (Sequence[Doc]): The set.
    path (Path): JSON Lines to write.
    """
    with path.open("w", encoding="utf8") as file:
        for number, doc in enumerate(docs):
            if can_ask(doc.text):
                file.write(json.dumps({"id": str(number), "text": doc.text}) + "\n")


def plan_tasks(tasks: Iterable[Task]) -> Plan:
    """Find out what is left to ask.

    tasks (Iterable[Task]): What has to have an answer.
    RETURNS (Plan): The sums of their plans.
    """
    total = Plan()
    for task in tasks:
        plan = make_plan(task)
        total.states += plan.states
        total.requests += plan.requests
        total.bytes += plan.bytes
        total.samples = total.samples or plan.samples
    return total


async def ask(tasks: Iterable[Task], server: Endpoint, account: Account) -> None:
    """Ask until the store has an answer to all.

    tasks (Iterable[Task]): What has to have an answer.
    server (Endpoint): The server.
    account (Account): Limits and counts of all of them together.
    RAISES (NunerError): What `Run.all` raises.
    """
    for task in tasks:
        await Run(task, server, account).all()


def score_question(
    question: Question, dataset: Dataset, gold: Gold, store: Store, account: Account
) -> Cell:
    """Score the answers to a question.

    question (Question): The question.
    dataset (Dataset): The set.
    gold (Gold): Its test part.
    store (Store): The answers.
    account (Account): What the server said at the last failure.
    RETURNS (Cell): Its cell, with the scores of `Gold.score_ents`, those of the way,
        `prompt_tokens` and `completion_tokens` of all its answers (None where the
        server counted none), how many answers were `truncated` or `refused`, and how
        many texts could not be asked about (`unasked`, see `can_ask`). Its seconds are
        those of all requests, one after another.
    RAISES (NunerError): N627 if there are questions without an answer.
    """
    texts = [doc.text for doc in dataset.test]
    found = {
        text: [store.find_answer(text, settings) for settings in question.settings]
        for text in dict.fromkeys(texts)
        if can_ask(text)
    }
    answers = [one for row in found.values() for one in row if one is not None]
    if missing := sum(map(len, found.values())) - len(answers):
        raise NunerError(
            Errors.N627,
            count=missing,
            total=missing + len(answers),
            name=dataset.name,
            k=question.cell.k,
            reason=account.report.reason or "the run was stopped",
            store=store.path,
        )
    nothing = [""] * len(question.settings)
    contents = [
        [one.content for one in found[text] if one] if text in found else nothing
        for text in texts
    ]
    vocab = blank("xx").vocab
    copies = [copy_words(doc, vocab) for doc in dataset.test]
    scores = gold.score_ents(question.way.read(copies, contents))
    scores |= question.way.score(dataset.test, contents)
    scores |= {
        "prompt_tokens": _sum(one.prompt_tokens for one in answers),
        "completion_tokens": _sum(one.completion_tokens for one in answers),
        "truncated": sum(one.finish_reason == TRUNCATED for one in answers),
        "refused": sum(one.finish_reason == FILTERED for one in answers),
        "unasked": sum(text not in found for text in texts),
    }
    seconds = round(sum(one.latency or 0.0 for one in answers), 2)
    more = ["spacy-llm"] if question.cell.head == SPACY_LLM else []
    versions = find_versions(*more)
    return replace(question.cell, scores=scores, seconds=seconds, versions=versions)


def score_all(
    questions: Iterable[Question],
    dataset: Dataset,
    labels: Iterable[str],
    store: Store,
    account: Account,
    output: Path,
) -> list[Cell]:
    """Score the answers to all questions, and write their cells.

    questions (Iterable[Question]): The questions.
    dataset (Dataset): The set.
    labels (Iterable[str]): All its labels.
    store (Store): The answers.
    account (Account): Has the price, which finished cells get too.
    output (Path): The folder of results.
    RETURNS (list[Cell]): The cells.
    RAISES (NunerError): N627 if one has no answer to some texts, after all others were
        written; what `claimed` raises.
    """
    gold = Gold(dataset.test, [OUTSIDE, *labels])
    cells = []
    missed: NunerError | None = None
    with claimed(check_output(output / dataset.name, folder=True), "fewshot"):
        for question in questions:
            try:
                cell = question.cell.find_finished(output) or score_question(
                    question, dataset, gold, store, account
                )
            except NunerError as error:
                missed = error
                continue
            cells.append(price_cell(cell, account.limits.price))
            cells[-1].to_disk(output)
    if missed:
        raise missed
    return cells


def price_cell(cell: Cell, price: Price | None) -> Cell:
    """Say what the answers of a cell cost.

    cell (Cell): A cell with scores.
    price (Price | None): The price of the model; None to leave the cell as it is.
    RETURNS (Cell): The cell, with `cost` and `currency` among its scores if there is a
        price and its tokens were counted.
    """
    sent = cell.scores.get("prompt_tokens")
    received = cell.scores.get("completion_tokens")
    if price is None or sent is None or received is None:
        return cell
    paid = {"cost": price.cost(sent, received), "currency": price.currency}
    return replace(cell, scores=cell.scores | paid)


def _sum(counts: Iterable[int | None]) -> int | None:
    """RETURNS (int | None): The sum; None if a count is not known."""
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)
