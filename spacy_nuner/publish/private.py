"""What is private in files that go to others: paths, users, hosts and keys."""

import getpass
import json
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..encoders.names import is_hub_name
from ..errors import Errors, NunerError
from ..masking import FIELDS, MASK, get_secrets, mask
from ..printing import escape_markdown

# How an absolute path begins: of POSIX with two parts at least, in a home folder, of
# Windows, on another machine. "</b>" and "\\x1b\[0m", as cards show an escape of a
# terminal, are none.
_POSIX = r"/(?=[^/\s<>]+/[^/\s])"
# In quotes, or where there is nothing else, a part may hold blanks.
_POSIX_WITH_BLANKS = r"/(?=[^/\n]+/[^/\n])"
_OTHERS = (
    r"file://(?=/)|~[\w.-]*/(?=\S)|[A-Za-z]:[\\/](?=[^\s/])"
    r"|\\\\(?=[\w.+-][\w.+ -]*\\+[^\\\s\[\]])"
)
_BEGIN = rf"(?:{_POSIX}|{_OTHERS})"
_QUOTED_BEGIN = rf"(?:{_POSIX_WITH_BLANKS}|{_OTHERS})"
# A word of a command line goes on through quotes and escaped blanks.
_REST = r"""(?:'[^'\n]*'|"[^"\n]*"|\\.|[^\s"'`<>|,;()\[\]{}\\])*"""
_PATH = re.compile(
    rf"(?P<quote>[\"'`]){_QUOTED_BEGIN}(?:(?!(?P=quote)).)*(?P=quote){_REST}"
    rf"|(?<![\w.~/\\-]){_BEGIN}{_REST}"
    # From here up to the root and down again.
    rf"|(?:\.\./)+(?:home|Users|root)/{_REST}"
)
_WHOLE_PATH = re.compile(_QUOTED_BEGIN)
# Nothing else is as surely somebody's as what lies in a home folder: looked for in
# files that are no texts, too. A byte over 127 counts where it is part of a character
# of UTF-8: MessagePack has others behind a text, which say what follows.
_CHARACTER = (
    rb"[\w.+@-]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"
    rb"|[\xf0-\xf4][\x80-\xbf]{3}"
)
_HOME = re.compile(
    rb"(?:/(?:home|Users)/|/root/|[A-Za-z]:\\+Users\\+)(?:%b)(?:%b|[/\\])*"
    % (_CHARACTER, _CHARACTER)
)
# What can only be a relative path: neither an address nor `package:NAME/PATH`.
_RELATIVE = re.compile(r"[^\s:/\\]*[/\\][^\s:]*")
# The forms that services give their keys.
_SERVICE_KEY = (
    r"hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{16,}"
    r"|github_pat_[A-Za-z0-9_]{16,}|AKIA[A-Z0-9]{16}"
)
# A key that was typed: as an option or a variable, in an address, in such a form.
_KEYS = re.compile(
    rf"""(?P<name>(?<![\w-])--(?i:[\w.-]*(?:key|token|secret|password))[ =]
        |\b\w*(?:KEY|TOKEN|SECRET|PASSWORD)=)(?:'[^'\n]*'|"[^"\n]*"|[^\s"'*,]+)
    |(?P<scheme>://)[^/\s@'"]+(?=@)
    |(?P<query>[?&][\w.-]*(?i:key|token|secret|passw|pwd|sig|credential)[\w.-]*=)
        [^&\s\#"']+
    |\b(?:{_SERVICE_KEY})
    """,
    re.X,
)
_KEY_BYTES = re.compile(rb"(?<![A-Za-z0-9_])(?:%b)" % _SERVICE_KEY.encode())
# A user on a machine, and not an address of e-mail, which has a dot behind the "@": but
# some domains are of a local network alone.
_LOGIN = re.compile(
    r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+(?![\w.@-])|[\w.-]+(?=:[/~])"
    r"|[\w.-]+\.(?:local|localdomain|internal|intranet|lan|corp|home\.arpa)"
    r"(?![\w-]))"
)
# Fields of JSON that hold a key. Tokenizers have tokens of other kinds (`unk_token`).
_KEY_FIELD = re.compile(
    rf"{FIELDS.pattern}|^(?:(?:hf|hub|wandb|github)[-_]?)?token$"
    r"|^(?:hf|hub|wandb|github|openai|private)[-_]?key$|^passwd$",
    re.I,
)
# Fields that hold labels, of our components and spaCy's, of transformers' configs, and
# of `nuner.json`.
_LABEL_FIELDS = {
    *("labels", "learned", "left_out", "threshold"),
    *("label2id", "top_concepts"),
}
# The shortest piece of a key that is masked: what a shorter one is part of may be any
# word, and a pipeline without that word can't be loaded.
_SHORTEST_PIECE = 12
# Users and hosts that are nobody's name, and words of any command.
_COMMON = {"root", "user", "admin", "ubuntu", "runner", "jovyan", "localhost", "home"}


class Masker:
    """Masks what is private, and remembers which paths and commands there were.

    So that a path which stands in a text is found in a binary file of the same folder,
    and a command in a model card. Paths, logins and keys are known by their form. The
    name of a user or a machine may be any word, and so it is masked where a run is told
    of alone.
    """

    def __init__(self, folder: Path, *, repo: str | None = None) -> None:
        """folder (Path): A folder whose path is private wherever it stands.
        repo (str | None): The repository that the files go to. If the user owns it,
            everybody sees the user's name in its name.
        """
        self.paths = {str(folder.absolute())}
        home = str(Path.home())
        # In a container it may be "/".
        if len(home) > 3:
            self.paths.add(home)
        self._labels: set[str] = set()
        # Split by it, every second piece of a text is a label.
        self._label: re.Pattern[str] | None = None
        self._home_labels: set[bytes] = set()
        # A text about a run -> how it may be shown.
        self._about_runs: dict[str, str] = {}
        public = {*_COMMON, (repo or "").partition("/")[0].lower()}
        names = {
            re.escape(name)
            for name in (_find_host(), _find_user())
            if len(name) > 2 and name.lower() not in public
        }
        self._name = (
            re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(names))})(?![\w-])", re.I)
            if names
            else None
        )

    def add_labels(self, data: Any) -> None:
        """Learn what is a label, though it may look like a path ("/person/artist").

        data (Any): JSON of a folder, in whose fields labels stand.
        """
        forms = (_WHOLE_PATH, _PATH, _LOGIN)
        found = {x for x in _find_labels(data) if any(one.search(x) for one in forms)}
        self._labels |= found
        self._home_labels |= {
            match[0]
            for label in found
            for form in (label, json.dumps(label)[1:-1])
            if (match := _HOME.match(form.encode("utf8", "replace")))
        }
        shown = {text for one in self._labels for text in (one, escape_markdown(one))}
        if shown:
            either = "|".join(map(re.escape, sorted(shown, key=len, reverse=True)))
            self._label = re.compile(rf"(?<![\w.~/\\-])({either})(?![\w/\\-]|\.\w)")

    def mask_text(self, text: str) -> str:
        """Mask what is private in a text.

        text (str): Any text, such as a model card.
        RETURNS (str): The text with "***" for what was private.
        """
        # Of a command the parts are known too: first the whole.
        for private in sorted(self._about_runs, key=len, reverse=True):
            text = text.replace(private, self._about_runs[private])
        pieces = self._label.split(text) if self._label else [text]
        pieces[::2] = map(self._mask_piece, pieces[::2])
        return "".join(pieces)

    def mask_keys(self, text: str) -> str:
        """Mask keys, and nothing else, in a text that its author wants to be read.

        text (str): Such as an address.
        RETURNS (str): The text with "***" for each key.
        """
        return _KEYS.sub(_hide_key, mask(text, shortest=_SHORTEST_PIECE))

    def _mask_piece(self, text: str) -> str:
        text = _LOGIN.sub(MASK, self.mask_keys(text))
        text = _PATH.sub(self._hide_path, text)
        for path in sorted(self.paths, key=len, reverse=True):
            text = re.sub(rf"{re.escape(path)}(?![\w-])", MASK, text)
        return text

    def mask_run(self, text: str) -> str:
        """Mask what is private in a text about a run, names of user and machine too.

        text (str): Such as a command line.
        RETURNS (str): The text with "***" for what was private.
        """
        if self._name is None:
            return self.mask_text(text)
        # Paths first: what is left of a name in one would be no path any more.
        shown = self._name.sub(MASK, self.mask_text(text))
        if shown != text:
            self._about_runs[text] = shown
        return shown

    def mask_data(
        self, data: Any, *, source: Path, is_run: bool = False, in_labels: bool = False
    ) -> Any:
        """Mask what is private in JSON.

        data (Any): The JSON.
        source (Path): The file that it is from.
        is_run (bool): Whether it tells of a run, as `nuner.json` does: then names are
            masked in the field `command` and in relative paths.
        in_labels (bool): Whether its keys may be labels: "password" is one of those
            who look for what is private.
        RETURNS (Any): The same with its texts masked, and keys that were private.
        RAISES (NunerError): N678 if two keys would be the same.
        """
        if isinstance(data, str):
            return self._mask_value(data, is_run)
        if isinstance(data, list | tuple):
            return [
                self.mask_data(one, source=source, is_run=is_run, in_labels=in_labels)
                for one in data
            ]
        if not isinstance(data, Mapping):
            return data
        masked: dict[Any, Any] = {}
        for key, value in data.items():
            shown = self._mask_value(key, False) if isinstance(key, str) else key
            if shown in masked:
                raise NunerError(Errors.N678, path=source, key=key)
            is_key = not in_labels and _KEY_FIELD.search(str(key))
            if is_key and isinstance(value, str) and value:
                masked[shown] = MASK
            elif is_run and key == "command" and isinstance(value, str):
                masked[shown] = self.mask_run(value)
            else:
                masked[shown] = self.mask_data(
                    value,
                    source=source,
                    is_run=is_run,
                    in_labels=in_labels or key in _LABEL_FIELDS,
                )
        return masked

    def _mask_value(self, text: str, is_run: bool) -> str:
        if text in self._labels:
            return text
        if _WHOLE_PATH.match(text):
            self.paths.add(text)
            return MASK
        # "owner/name" is of the hub, which others know it by.
        is_relative = _RELATIVE.fullmatch(text) and (
            "\\" in text or not is_hub_name(text)
        )
        return self.mask_run(text) if is_run and is_relative else self.mask_text(text)

    def mask_bytes(self, content: bytes) -> bytes:
        """Overwrite what is private in a file that is no text.

        content (bytes): Of any format in which a text stands as it is.
        RETURNS (bytes): As many bytes, with an asterisk for each that was private, so
            that lengths and offsets in the file stay right.
        """
        for text in sorted(self.paths | get_secrets(), key=len, reverse=True):
            for form in {text, json.dumps(text)[1:-1]}:
                found = form.encode("utf8", "surrogateescape")
                # A shorter one may be anything.
                if len(found) > 5:
                    content = content.replace(found, b"*" * len(found))
        content = _KEY_BYTES.sub(lambda match: b"*" * len(match[0]), content)
        return _HOME.sub(self._hide_home, content)

    def _hide_home(self, match: re.Match[bytes]) -> bytes:
        found = match[0]
        return found if found in self._home_labels else b"*" * len(found)

    def _hide_path(self, match: re.Match[str]) -> str:
        found = match[0]
        if match["quote"]:
            inside = found[1:].partition(match["quote"])[0]
            self.paths.add(inside)
            return f"{match['quote']}{MASK}{match['quote']}"
        self.paths.add(found)
        return MASK


def _hide_key(match: re.Match[str]) -> str:
    return f"{match['name'] or match['scheme'] or match['query'] or ''}{MASK}"


def _find_labels(data: Any) -> Iterator[str]:
    """Yield the texts that may be labels: too many where a field has another form, but
    no value of a setting that stands beside.
    """
    if isinstance(data, Mapping):
        for key, value in data.items():
            if key in _LABEL_FIELDS and not isinstance(value, str):
                yield from _read_labels(value)
            yield from _find_labels(value)
    elif isinstance(data, list | tuple):
        for one in data:
            yield from _find_labels(one)


def _read_labels(value: Any) -> Iterator[str]:
    """Labels in a list, with what is known of each or not; or as keys; or in a list for
    each component.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (key for key in value if isinstance(key, str))
        yield from _read_labels(value.get("label"))
        lists = (one for one in value.values() if isinstance(one, list))
        for one in lists:
            yield from _read_labels(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _read_labels(one)


def _find_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user without a name, as in some containers.
        return ""


def _find_host() -> str:
    return socket.gethostname().partition(".")[0]
