"""The lines of the Batch API's files."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .answers import Answer, MalformedAnswer, Sentence, read_completion
from .client import CHAT_PATH, Failure
from .ledger import OpenBatch, read_requests
from .prompts import Settings
from .store import Store

URL = f"/v1{CHAT_PATH}"
# The server had no time for the request within the window.
EXPIRED = "batch_expired"


def request_line(
    name: str, number: int, settings: Settings, request: Sequence[Sentence]
) -> bytes:
    """Make a line of a request file.

    name (str): The batch.
    number (int): The request's number in it.
    settings (Settings): How it is asked.
    request (Sequence[Sentence]): The sentences.
    RETURNS (bytes): The line.
    """
    line = {
        "custom_id": f"{name}-{number}",
        "method": "POST",
        "url": URL,
        "body": settings.body([sentence.text for sentence in request]),
    }
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def write_requests(store: Store, batch: OpenBatch, path: Path) -> None:
    """Write the request file of a batch.

    store (Store): The store, which has the sentences.
    batch (OpenBatch): The batch.
    path (Path): The file.
    """
    with path.open("wb") as file:
        for number, request in read_requests(store, batch):
            file.write(request_line(batch.id, number, batch.settings, request))


def read_answers(path: Path) -> Iterator[tuple[int, Answer | Failure]]:
    """Read an output or error file.

    path (Path): The file.
    YIELDS (tuple[int, Answer | Failure]): The request's number and what came of it. A
        line that is damaged is passed over: its request counts as not answered.
    """
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
                number = int(row["custom_id"].rpartition("-")[2])
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            yield number, _outcome(row)


def _outcome(row: dict[str, Any]) -> Answer | Failure:
    response = row.get("response") or {}
    error = row.get("error") or {}
    status = response.get("status_code")
    if error.get("code") == EXPIRED:
        return Failure(EXPIRED, str(error.get("message", "")))
    if status != 200:
        kind = f"http {status}" if status else str(error.get("code", "malformed"))
        return Failure(kind, json.dumps(response.get("body") or error))
    try:
        return read_completion(response.get("body"))
    except MalformedAnswer as failure:
        return Failure("malformed", str(failure))
