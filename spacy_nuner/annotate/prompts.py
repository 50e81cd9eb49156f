"""The prompts of the paper and the blog, a user's own, and what goes to the server."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import Errors, NunerError

SLOT = "{text}"
TEMPLATES = Path(__file__).parent / "templates"
PUBLISHED = ("paper", "blog")
STRUCTURED = "structured"
# What stands in the slot where several sentences share a request.
SEVERAL = (
    "several texts, each after its number in square brackets. Answer for each text "
    "apart: first its number in square brackets on a line of its own, then what was "
    "asked for.\n"
)
SEVERAL_STRUCTURED = (
    "several texts, each after its number in square brackets. Answer with a list "
    '"texts" that has for each text its "number" and its "entities".\n'
)
_ENTITIES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "concept": {"type": "string"},
            "description": {"type": "string"},
        },
        "required": ["text", "concept", "description"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True)
class Prompt:
    """A prompt with one slot for what is to be annotated.

    name (str): "paper", "blog", "structured" or the name of the user's file.
    template (str): The text with `{text}` in it once.
    structured (bool): Ask for JSON after a schema instead of lines.
    sentences (int): How many sentences share a request.
    """

    name: str
    template: str
    structured: bool = False
    sentences: int = 1

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of everything that shapes the request beside its texts."""
        several = _several(self.structured) if self.sentences > 1 else ""
        shape = [self.template, self.structured, self.sentences, several]
        return hashlib.sha256(_canonical(shape)).hexdigest()

    def render(self, texts: Sequence[str]) -> str:
        """Put texts into the slot.

        texts (Sequence[str]): The sentences; braces in them mean nothing.
        RETURNS (str): The message.
        """
        before, after = self.template.split(SLOT)
        if len(texts) == 1:
            return before + texts[0] + after
        numbered = (
            f"\n[{number}] {' '.join(text.split())}"
            for number, text in enumerate(texts, start=1)
        )
        return before + _several(self.structured) + "".join(numbered) + after


def load_prompt(name: str, *, structured: bool = False, sentences: int = 1) -> Prompt:
    """Find a prompt.

    name (str): "paper", "blog", or a text file with `{text}` in it once.
    structured (bool): Ask for JSON after a schema. The published prompts ask for lines,
        so their words are used with JSON in the place of the line format.
    sentences (int): How many sentences share a request.
    RETURNS (Prompt): The prompt.
    RAISES (NunerError): N203 if there is no such prompt, N204 if it has no slot, N219
        if the file is no text.
    """
    if name in PUBLISHED:
        name = STRUCTURED if structured else name
        path = TEMPLATES / f"{name}.txt"
    else:
        path = Path(name)
        name = path.name
    if not path.is_file():
        known = ", ".join(PUBLISHED)
        raise NunerError(Errors.N203, name=path, known=known)
    try:
        template = path.read_text(encoding="utf8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NunerError(Errors.N219, path=path, reason=error) from error
    if template.count(SLOT) != 1:
        raise NunerError(Errors.N204, name=path, count=template.count(SLOT))
    return Prompt(name, template, structured=structured, sentences=sentences)


@dataclass(frozen=True)
class Settings:
    """What is asked, of which model, how. Two runs with equal settings share answers.

    prompt (Prompt): The prompt.
    model (str): The model's name as the server knows it.
    params (Mapping[str, Any]): Parameters of the request, such as `temperature`.
    """

    prompt: Prompt
    model: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of prompt, model and parameters."""
        parts = [self.prompt.hash, self.model, self.params]
        return hashlib.sha256(_canonical(parts)).hexdigest()

    def key(self, text: str) -> bytes:
        """Name a sentence under these settings.

        text (str): The sentence.
        RETURNS (bytes): The SHA-256 of settings and sentence.
        """
        return _digest(self.hash, text)

    def question(self, text: str) -> bytes:
        """Name what is asked whatever the parameters are.

        text (str): A sentence.
        RETURNS (bytes): The SHA-256 of prompt, model and sentence.
        """
        return _digest(self._prompt_and_model, text)

    @cached_property
    def _prompt_and_model(self) -> str:
        return hashlib.sha256(_canonical([self.prompt.hash, self.model])).hexdigest()

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """Make the JSON of a request to `/v1/chat/completions`.

        texts (Sequence[str]): The sentences of the request.
        RETURNS (dict[str, Any]): The request.
        """
        message = {"role": "user", "content": self.prompt.render(texts)}
        body = {"model": self.model, "messages": [message], **self.params}
        if self.prompt.structured:
            body["response_format"] = _response_format(several=len(texts) > 1)
        return body


def _several(structured: bool) -> str:
    return SEVERAL_STRUCTURED if structured else SEVERAL


def _response_format(*, several: bool) -> dict[str, Any]:
    schema = _object({"entities": _ENTITIES})
    if several:
        one = _object({"number": {"type": "integer"}, "entities": _ENTITIES})
        schema = _object({"texts": {"type": "array", "items": one}})
    described = {"name": "entities", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": described}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()


def _digest(prefix: str, text: str) -> bytes:
    return hashlib.sha256(f"{prefix}\n{text}".encode()).digest()
