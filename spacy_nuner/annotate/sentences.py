"""The sentences to annotate, and how many of them are still to be asked about."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import NunerError
from .answers import GOOD, Answer, Sentence, judge
from .prompts import Settings
from .reading import BROKEN_CHARS, Skips, read_rows
from .store import Store, Wanted

# Sentences that are looked up and claimed at a time, at most.
CHUNK = 256
# Requests that the plan keeps to measure how long a token is.
MEASURED = 20
_BROKEN = re.compile(BROKEN_CHARS)


def read_sentences(path: Path, skips: Skips) -> Iterator[Sentence]:
    """Read sentences in a stream.

    path (Path): JSON Lines with `text` and, if there is one, `id`; may be compressed.
    skips (Skips): Counts the lines that can't be used.
    YIELDS (Sentence): The sentences; without an id the number of the line is one.
    """
    for number, row in read_rows(str(path), skips):
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            skips.add("without a text", f"{path.name}:{number}")
        elif _BROKEN.search(text):
            skips.add("with broken characters", f"{path.name}:{number}")
        else:
            yield Sentence(number, str(row.get("id", number)), text)


def chunks(
    sentences: Iterator[Sentence], size: int = CHUNK
) -> Iterator[list[Sentence]]:
    """Take sentences some at a time.

    sentences (Iterator[Sentence]): The sentences.
    size (int): How many at a time.
    YIELDS (list[Sentence]): The next ones.
    """
    while chunk := list(itertools.islice(sentences, size)):
        yield chunk


def is_bad(settings: Settings) -> Wanted:
    """Choose what is asked about again.

    settings (Settings): How it is asked about.
    RETURNS (Wanted): For `Store.claim`: the sentences whose answer is of no use.
    """

    def wanted(sentence: Sentence, answer: Answer) -> bool:
        structured = settings.prompt.structured
        return judge(answer, text=sentence.text, structured=structured) != GOOD

    return wanted


@dataclass
class Plan:
    """What a run has before it.

    sentences (int): Sentences in the file.
    to_ask (int): Those that are to be asked about.
    requests (int): Requests for them.
    bytes (int): Length of the requests' messages together, in bytes of UTF-8.
    samples (list[str]): Some of the messages.
    skips (Skips): Lines that can't be used.
    """

    sentences: int = 0
    to_ask: int = 0
    requests: int = 0
    bytes: int = 0
    samples: list[str] = field(default_factory=list)
    skips: Skips = field(default_factory=Skips)


def make_plan(
    path: Path, store: Store, settings: Settings, wanted: Wanted | None
) -> Plan:
    """Go through the sentences without claiming any.

    path (Path): The sentences.
    store (Store): The answers so far.
    settings (Settings): How it is asked.
    wanted (Wanted | None): As in `Store.claim`.
    RETURNS (Plan): What is to be asked.
    RAISES (NunerError): N201 if the file holds no sentence.
    """
    plan = Plan()
    open_request: list[str] = []
    # The first half of each key: a sentence that is repeated is asked about once.
    seen: set[bytes] = set()

    def send() -> None:
        message = settings.prompt.render(open_request)
        plan.requests += 1
        plan.bytes += len(message.encode())
        # The first ones, then the 32nd, 64th, 128th ...: spread over the file.
        if plan.requests & (plan.requests - 1) == 0 or len(plan.samples) < MEASURED:
            plan.samples.append(message)
        open_request.clear()

    for sentence in read_sentences(path, plan.skips):
        plan.sentences += 1
        key = settings.key(sentence.text)[:16]
        if key not in seen and store.needs(sentence, settings, wanted):
            seen.add(key)
            plan.to_ask += 1
            open_request.append(sentence.text)
            if len(open_request) == settings.prompt.sentences:
                send()
    if open_request:
        send()
    if not plan.sentences:
        reason = plan.skips.describe() or "the file is empty"
        raise NunerError("N201", source=path, reason=reason)
    return plan
