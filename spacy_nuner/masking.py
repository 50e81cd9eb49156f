"""API keys and passwords, masked wherever a text repeats them, whole or in pieces."""

import base64
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MASK = "***"
# Variables of the environment that hold a secret, such as OPENAI_API_KEY or HF_TOKEN.
VARIABLES = re.compile(r"(?:^|_)(?:(?:API|ACCESS|ADMIN)_?KEY|TOKEN|SECRET)$", re.I)
# Fields of JSON that do.
FIELDS = re.compile(
    r"(?:api|access|secret|subscription)[-_]?key|password|secret|authorization"
    r"|(?:access|auth|bearer|api)[-_]?token",
    re.I,
)
# Parameters of an address that do.
PARAMETERS = re.compile(
    r"key|token|secret|password|passwd|pwd|sig|signature|auth|code", re.I
)
# Servers that need no key get a word such as EMPTY, local or none for one: a shorter
# text is no secret, and its pieces stand in any sentence.
SHORTEST_SECRET = 8
# A shorter one without a digit may be made of words.
LEAST_OF_WORDS = 20
# What is read as the character that it stands for, or passed over (group "blank"):
# pieces may be escaped for JSON or an address, or broken between two lines.
_UNIT = re.compile(
    r"""%(?P<percent>[0-9a-f]{2})
    | \\u(?P<unicode>[0-9a-f]{4})
    | \\x(?P<byte>[0-9a-f]{2})
    | (?P<blank>
        [\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+
        | [\ud800-\udfff]+ | \\[nrtbf] | \\(?=["/\\]))
    """,
    re.I | re.X,
)

_hidden: set[str] = set()


class _Pieces:
    """Pieces of secrets of one size."""

    def __init__(self, size: int, texts: set[str]) -> None:
        self.size = size
        self.texts = texts
        self.step = size // 2
        length = size - self.step + 1
        self.halves = {text[i : i + length] for text in texts for i in range(self.step)}


def hide(*secrets: str) -> None:
    """Have texts masked that no variable of the environment holds.

    *secrets (str): Such as a key or a password; one of less than 8 characters is left.
    """
    _hidden.update(secrets)


def mask_url(url: str) -> str:
    """Mask user, password and keys in an address, here and from now on in any text.

    url (str): The address.
    RETURNS (str): The address as it may be shown.
    """
    try:
        parts = urlsplit(url)
        secrets = [parts.password or parts.username or ""]
        secrets += [v for k, v in parse_qsl(parts.query) if PARAMETERS.search(k)]
    except ValueError:
        return mask(url)
    user, at, _ = parts.netloc.rpartition("@")
    hide(user, unquote(user), *secrets, *map(unquote, secrets))
    url = url.replace(f"{user}@", f"{MASK}@", 1) if at else url
    for name in {k for k, _ in parse_qsl(parts.query) if PARAMETERS.search(k)}:
        url = re.sub(rf"(?<=[?&]{re.escape(name)}=)[^&#]+", MASK, url)
    return mask(url)


def find_secret(data: Any, name: str = "") -> str | None:
    """Find a field of JSON that holds a secret, by its name or its value.

    data (Any): The JSON.
    name (str): The name of the field that it is the value of.
    RETURNS (str | None): The name of the first such field.
    """
    if isinstance(data, dict):
        found = (find_secret(value, str(key)) for key, value in data.items())
    elif isinstance(data, list):
        found = (find_secret(value, name) for value in data)
    else:
        text = data if isinstance(data, str) else ""
        is_secret = text and FIELDS.search(name) or mask(text, shortest=12) != text
        return name if is_secret else None
    return next((one for one in found if one is not None), None)


def get_secrets() -> frozenset[str]:
    """RETURNS (frozenset[str]): What is masked: of the environment, and what is hidden.

    Without texts that are too short to be secrets.
    """
    found = [*_hidden, *(os.environ.get(name, "") for name in _find_variables())]
    return frozenset(text for text in found if len(text) >= SHORTEST_SECRET)


def mask(text: str, *, shortest: int = 0) -> str:
    """Mask secrets: those of the environment, and those that were hidden.

    A piece of a secret is masked too, from four characters on of a short one and from
    eight on of one of 32 or more: in upper or lower case, in base64 or hexadecimal,
    escaped, and with blanks or line breaks within. So the last four of a long key
    stay, by which servers say which one they mean. A secret of less than 20 characters
    without a digit may be made of words: it is masked whole alone.

    text (str): Any text, such as what a server said.
    shortest (int): Characters of the shortest piece that is masked, if more.
    RETURNS (str): The text with "***" for each piece.
    """
    secrets = get_secrets()
    pieces = _get_pieces(secrets, shortest) if secrets else []
    if pieces and _may_hold(_UNIT.sub(_decode, text).lower(), pieces):
        return "".join(_mask_pieces(text, pieces))
    return text


def mask_texts(data: Any) -> Any:
    """Mask secrets in the texts of JSON, before it is written.

    data (Any): The JSON. A key of digits may stand in a number, or a piece of it in the
        name of a field: those stay, or the JSON would be damaged.
    RETURNS (Any): The same with its texts masked.
    """
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, Mapping):
        return {key: mask_texts(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [mask_texts(one) for one in data]
    return data


@cache
def _find_variables() -> frozenset[str]:
    """The variables to look at: those that there are at first use, and these two.

    Found once: to search all of them for each text would take as long as to mask it.
    """
    found = {name for name in os.environ if VARIABLES.search(name)}
    return frozenset(found | {"OPENAI_API_KEY", "HF_TOKEN"})


@lru_cache(maxsize=8)
def _get_pieces(secrets: frozenset[str], shortest: int) -> list[_Pieces]:
    """The shortest pieces that are masked, of each secret in each of its forms."""
    pieces: dict[int, set[str]] = defaultdict(set)
    for secret in secrets:
        bare = "".join(secret.split())
        if len(bare) < SHORTEST_SECRET:
            continue
        size = max(4, min(8, len(bare) // 4), min(shortest, len(bare)))
        if len(bare) < LEAST_OF_WORDS and not any(map(str.isdigit, bare)):
            # Such as "sk-no-key-required": pieces of it are words of any sentence.
            size = len(bare)
        pieces[size].update(_cut(bare, size))
        data = bare.encode("utf8", "surrogateescape")
        pieces[2 * size].update(_cut(data.hex(), 2 * size))
        # In base64 a text looks different after none, one or two other characters.
        for before, shared in ((0, 0), (1, 2), (2, 3)):
            coded = base64.b64encode(bytes(before) + data).decode().rstrip("=")
            for form in (coded, coded.replace("+", "-").replace("/", "_")):
                pieces[size].update(_cut(form[shared:], size))
    return [_Pieces(size, found) for size, found in pieces.items()]


def _cut(text: str, size: int) -> Iterable[str]:
    text = text.lower()
    return (text[i : i + size] for i in range(len(text) - size + 1))


def _may_hold(plain: str, pieces: Sequence[_Pieces]) -> bool:
    """Whether a text may hold a piece. Most don't, and this is the quicker way to see.

    Wherever a piece stands, a half of it begins at an index that `step` divides.
    """
    for each in pieces:
        indices = range(0, len(plain), each.step)
        length = each.size - each.step + 1
        if not each.halves.isdisjoint([plain[i : i + length] for i in indices]):
            return True
    return False


def _decode(unit: re.Match[str]) -> str:
    if unit["blank"] is not None:
        return ""
    character = chr(int(unit["percent"] or unit["unicode"] or unit["byte"], 16))
    return character if character.isprintable() and character != " " else ""


def _mask_pieces(text: str, pieces: Sequence[_Pieces]) -> Iterator[str]:
    """The text with its masks."""
    characters = list(_read(text))
    plain = "".join(character for character, _, _ in characters)
    masked: set[int] = set()
    for each in pieces:
        for i in range(len(plain) - each.size + 1):
            if plain[i : i + each.size] in each.texts:
                masked.update(range(i, i + each.size))
    written = 0
    for i in sorted(masked):
        _, start, end = characters[i]
        if i - 1 not in masked:
            yield text[written:start] + MASK
        written = end
    yield text[written:]


def _read(text: str) -> Iterator[tuple[str, int, int]]:
    """Each character as it is compared, and where it stands in the text."""
    begin = 0
    for unit in (*_UNIT.finditer(text), None):
        end = unit.start() if unit else len(text)
        for i in range(begin, end):
            yield text[i].lower()[:1], i, i + 1
        if unit:
            begin = unit.end()
            if character := _decode(unit):
                yield character.lower()[:1], unit.start(), begin
