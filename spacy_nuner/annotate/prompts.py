"""Prompts (the paper's, the blog's, a user's own) and the bodies of requests."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import Errors, NunerError
from .responses import Api

SLOT = "{text}"
TEMPLATES = Path(__file__).parent / "templates"
PUBLISHED = ("paper", "blog")
# What fills the slot where several sentences share a request.
SEVERAL = (
    "several texts, each after its number in square brackets. Answer for each text "
    "apart: first its number in square brackets on a line of its own, then what was "
    "asked for.\n"
)
SEVERAL_STRUCTURED = (
    "several texts, each after its number in square brackets. Answer with a list "
    '"texts" that has for each text its "number" and its "entities".\n'
)


def _object(**properties: Any) -> dict[str, Any]:
    """A schema as strict mode wants it: each property required and no other allowed."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_STRING = {"type": "string"}
_ENTITY = _object(text=_STRING, concept=_STRING, description=_STRING)
_ENTITIES = {"type": "array", "items": _ENTITY}


def _describe_answer(count: int) -> dict[str, Any]:
    """The form of an answer in JSON to so many sentences."""
    schema = _object(entities=_ENTITIES)
    if count > 1:
        one = _object(number={"type": "integer"}, entities=_ENTITIES)
        schema = _object(texts={"type": "array", "items": one})
    return {"name": "entities", "strict": True, "schema": schema}


@dataclass(frozen=True)
class Prompt:
    """A prompt with one slot for the text.

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
        """The SHA-256 of everything in the request but its texts."""
        several = self._several if self.sentences > 1 else ""
        return _hash([self.template, self.structured, self.sentences, several])

    @property
    def _several(self) -> str:
        return SEVERAL_STRUCTURED if self.structured else SEVERAL

    def render(self, texts: Sequence[str]) -> str:
        """Put texts into the slot.

        texts (Sequence[str]): The sentences, put in as they are.
        RETURNS (str): The message.
        """
        # The last one: what stands before it may be anyone's text.
        before, _, after = self.template.rpartition(SLOT)
        if len(texts) == 1:
            return before + texts[0] + after
        numbered = (
            f"\n[{number}] {' '.join(text.split())}"
            for number, text in enumerate(texts, start=1)
        )
        return before + self._several + "".join(numbered) + after


def load_prompt(name: str, *, structured: bool = False, sentences: int = 1) -> Prompt:
    """Load a prompt.

    name (str): "paper", "blog", or a text file with `{text}` in it once.
    structured (bool): Ask for JSON after a schema; of the published prompts the format
        of the lines is left out then.
    sentences (int): How many sentences share a request.
    RETURNS (Prompt): The prompt.
    RAISES (NunerError): N203 if there is no such prompt, N204 if it has no slot, N219
        if the file is no text.
    """
    if name in PUBLISHED:
        name = "structured" if structured else name
        path = TEMPLATES / f"{name}.txt"
    else:
        path = Path(name)
        name = path.name
    # Not the path's own, which fails at a name that is too long.
    if not os.path.isfile(path):
        raise NunerError(Errors.N203, name=path, known=", ".join(PUBLISHED))
    try:
        template = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NunerError(Errors.N219, path=path, reason=error) from error
    if template.count(SLOT) != 1:
        raise NunerError(Errors.N204, name=path, count=template.count(SLOT))
    return Prompt(name, template, structured=structured, sentences=sentences)


# Parameters that are no whole numbers, however they were written.
FLOATS = {"temperature", "top_p", "presence_penalty", "frequency_penalty"}


@dataclass(frozen=True)
class Settings:
    """Prompt, model and parameters. Runs with equal settings share answers.

    prompt (Prompt): The prompt.
    model (str): The model's name as the server knows it.
    params (Mapping[str, Any]): Parameters of the request, such as `temperature`.
    api (Api): "chat" for `/v1/chat/completions`, "responses" for `/v1/responses`,
        "completions" for `/v1/completions`, where the message is all that the model
        sees.
    RAISES (NunerError): N222 if model or parameters can't be sent.
    """

    prompt: Prompt
    model: str
    params: Mapping[str, Any] = field(default_factory=dict)
    api: Api = "chat"

    def __post_init__(self) -> None:
        # 0 and 0.0 are the same to a server, but not in the store.
        params = {
            name: float(value) if name in FLOATS and type(value) is int else value
            for name, value in self.params.items()
        }
        object.__setattr__(self, "params", params)
        try:
            sent = [self.model, self.params]
            json.dumps(sent, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise NunerError(Errors.N222, reason=error) from error

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of prompt, model, parameters and, where it is not chat, API."""
        api = [] if self.api == "chat" else [self.api]
        return _hash([self.prompt.hash, self.model, self.params, *api])

    def key(self, text: str) -> bytes:
        """Identify a sentence under these settings.

        text (str): The sentence.
        RETURNS (bytes): The SHA-256 of settings and sentence.
        """
        return _digest(self.hash, text)

    def question(self, text: str) -> bytes:
        """Identify a sentence, whatever the parameters are.

        text (str): The sentence.
        RETURNS (bytes): The SHA-256 of prompt, model and sentence.
        """
        return _digest(self._prompt_and_model, text)

    @cached_property
    def _prompt_and_model(self) -> str:
        return _hash([self.prompt.hash, self.model])

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """Make the JSON of a request.

        texts (Sequence[str]): The sentences of the request.
        RETURNS (dict[str, Any]): The request.
        """
        message = self.prompt.render(texts)
        if self.api == "responses":
            # OpenAI stores responses unless `store` is false, and no completions.
            body = {"model": self.model, "input": message, "store": False}
        elif self.api == "completions":
            body = {"model": self.model, "prompt": message}
        else:
            messages = [{"role": "user", "content": message}]
            body = {"model": self.model, "messages": messages}
        body |= self.params
        if self.prompt.structured:
            described = _describe_answer(len(texts))
            form: dict[str, Any] = {"type": "json_schema"}
            if self.api == "responses":
                # The user may have set other fields of `text`, such as `verbosity`.
                given = body.get("text")
                text = given if isinstance(given, dict) else {}
                body["text"] = {**text, "format": form | described}
            else:
                body["response_format"] = form | {"json_schema": described}
        return body

    def get_billed(self, texts: Sequence[str]) -> str:
        """Get what a server may count as the tokens of the prompt.

        texts (Sequence[str]): The sentences of the request.
        RETURNS (str): The message, with the form of the answer where one is asked for.
        """
        message = self.prompt.render(texts)
        if not self.prompt.structured:
            return message
        return message + json.dumps(_describe_answer(len(texts)))


def _hash(value: Any) -> str:
    data = json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(data).hexdigest()


def _digest(prefix: str, text: str) -> bytes:
    return hashlib.sha256(f"{prefix}\n{text}".encode()).digest()
