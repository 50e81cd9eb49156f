"""What is private in files that go to others: paths, users, hosts and keys."""

import getpass
import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..masking import MASK, get_secrets, mask

# How an absolute path begins: of POSIX with two parts at least, in a home folder, of
# Windows, on another machine.
_POSIX = r"/(?=[^/\s]+/[^/\s])"
# In quotes, or where there is nothing else, a part may hold blanks.
_POSIX_WITH_BLANKS = r"/(?=[^/\n]+/[^/\n])"
_OTHERS = r"file://(?=/)|~[\w.-]*/(?=\S)|[A-Za-z]:[\\/](?=[^\s/])|\\\\(?=[\w.+-])"
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
# files that are no texts, too.
_HOME = re.compile(
    rb"(?:/(?:home|Users)/|/root/|[A-Za-z]:\\+Users\\+)[\w.+@-][\w.+@/\\-]*"
)
# A key that was typed: as an option or a variable, in an address, in the form that a
# service gives its keys.
_KEYS = re.compile(
    r"""(?P<name>(?<![\w-])--(?i:[\w-]*(?:key|token|secret|password))[ =]
        |\b\w*(?:KEY|TOKEN|SECRET|PASSWORD)=)(?:'[^'\n]*'|"[^"\n]*"|[^\s"'*,]+)
    |(?P<scheme>://)[^/\s@'"]+(?=@)
    |\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,})
    """,
    re.X,
)
# A user on a machine, and not an address of e-mail, which has a dot behind the "@".
_LOGIN = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+(?![\w.@-])|[\w.-]+(?=:[/~]))")
# Fields of JSON that hold a key, and that nobody calls a label.
_KEY_FIELD = re.compile(
    r"(?:api|access|secret)[-_]?key|(?:access|auth)[-_]?token", re.I
)
# Users and hosts that are nobody's name, and words of any text.
_COMMON = {"root", "user", "admin", "ubuntu", "runner", "jovyan", "localhost", "home"}


class Masker:
    """Masks what is private, and remembers which paths there were.

    So that a path which stands in a text is found in a binary file of the same folder.
    """

    def __init__(self, *folders: Path) -> None:
        """folders (Path): Folders whose paths are private wherever they stand."""
        self.paths = {str(path.absolute()) for path in folders}
        home = str(Path.home())
        # In a container it may be "/".
        if len(home) > 3:
            self.paths.add(home)
        self._user = _find_user()
        names = [name for name in (_find_host(), self._user) if name]
        self._names = {
            name: re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.I)
            for name in names
            if len(name) > 2 and name.lower() not in _COMMON
        }

    def mask_text(self, text: str, *, user: bool = True) -> str:
        """Mask what is private in a text.

        text (str): Any text, such as a command line.
        user (bool): Whether the name of the user is masked outside of paths too. Not
            where it may be a label.
        RETURNS (str): The text with "***" for what was private.
        """
        text = _LOGIN.sub(MASK, _KEYS.sub(_hide_key, mask(text)))
        text = _PATH.sub(self._hide_path, text)
        for path in sorted(self.paths, key=len, reverse=True):
            text = re.sub(rf"{re.escape(path)}(?![\w-])", MASK, text)
        for name, pattern in self._names.items():
            if user or name != self._user:
                text = pattern.sub(MASK, text)
        return text

    def mask_data(self, data: Any, *, user: bool = True) -> Any:
        """Mask what is private in JSON.

        data (Any): The JSON.
        user (bool): As for `mask_text`.
        RETURNS (Any): The same with its texts and keys masked.
        """
        if isinstance(data, str):
            if _WHOLE_PATH.match(data):
                self.paths.add(data)
                return MASK
            return self.mask_text(data, user=user)
        if isinstance(data, Mapping):
            return {
                self.mask_data(key, user=user): MASK
                if isinstance(value, str) and _KEY_FIELD.search(str(key))
                else self.mask_data(value, user=user)
                for key, value in data.items()
            }
        if isinstance(data, list | tuple):
            return [self.mask_data(one, user=user) for one in data]
        return data

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
        return _HOME.sub(lambda match: b"*" * len(match[0]), content)

    def _hide_path(self, match: re.Match[str]) -> str:
        found = match[0]
        if match["quote"]:
            inside = found[1:].partition(match["quote"])[0]
            self.paths.add(inside)
            return f"{match['quote']}{MASK}{match['quote']}"
        self.paths.add(found)
        return MASK


def _hide_key(match: re.Match[str]) -> str:
    return f"{match['name'] or match['scheme'] or ''}{MASK}"


def _find_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user without a name, as in some containers.
        return ""


def _find_host() -> str:
    return socket.gethostname().partition(".")[0]
