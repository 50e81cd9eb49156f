"""Answers out of the store as records for the corpus."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import NunerError
from ..files import replacing
from .answers import judge, to_record
from .store import Store


def export_records(
    store: Store, path: Path, *, prompt: str | None = None, model: str | None = None
) -> Counter[str]:
    """Write the newest answer to each sentence, in the order of the sentences.

    store (Store): The answers.
    path (Path): JSON Lines with `id`, `text` and `answer` (or `entities`).
    prompt (str | None): Only answers to this prompt, by its name or hash.
    model (str | None): Only answers of this model.
    RETURNS (Counter[str]): The records by what their answers are worth.
    RAISES (NunerError): N211 if prompt and model are not clear, N212 without answers.
    """
    prompt_hash, model = _choose(store, prompt, model)
    verdicts: Counter[str] = Counter()
    with replacing(path) as beside, beside.open("w", encoding="utf8") as file:
        for record, verdict in _records(store, prompt_hash, model):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            verdicts[verdict] += 1
    return verdicts


def _records(
    store: Store, prompt_hash: str, model: str
) -> Iterator[tuple[dict[str, Any], str]]:
    for sentence, answer, structured in store.newest(prompt_hash, model):
        verdict = judge(answer, text=sentence.text, structured=structured)
        yield to_record(sentence, answer, structured=structured), verdict


def _choose(store: Store, prompt: str | None, model: str | None) -> tuple[str, str]:
    found = [
        (name, prompt_hash, served, count)
        for name, prompt_hash, served, count in store.kinds()
        if prompt is None or name == prompt or prompt_hash.startswith(prompt)
        if model is None or served == model
    ]
    if not found:
        which = f" to the prompt '{prompt}'" if prompt else ""
        which += f" of the model '{model}'" if model else ""
        raise NunerError("N212", path=store.path, which=which)
    if len(found) > 1:
        kinds = ", ".join(
            f"--prompt {name} ({prompt_hash[:8]}) --model {served}: {count:,} answers"
            for name, prompt_hash, served, count in found
        )
        raise NunerError("N211", path=store.path, found=kinds)
    return found[0][1], found[0][2]
