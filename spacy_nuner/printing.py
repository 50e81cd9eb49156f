"""Texts out of files and from servers, made safe to print and to put into a report."""

import html
import logging
import re
from collections.abc import Sequence

from .masking import mask

# Control characters (C0, C1, DEL), which move the cursor, erase, or change the
# terminal's settings; line and paragraph separators; what turns the direction of
# writing for all that follows; and lone surrogates, which no encoding can write.
_UNSAFE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
)
_IN_LINES = re.compile(f"[{_UNSAFE}]")
_IN_A_LINE = re.compile(rf"[\t\n{_UNSAFE}]")
_NAMES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}

# What Markdown would read as markup. An underscore between letters is none.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")


def printable(text: object, *, lines: bool = False) -> str:
    """Make a text safe to print: what acts on a terminal is shown as an escape.

    Letters of all languages stay as they are, combined emoji too. Keys are masked.

    text (object): Anything; what is no text is printed as str() has it.
    lines (bool): Whether line breaks and tabs stay, as in a traceback. If not, they are
        escaped, so that a name can't look like a line of its own.
    RETURNS (str): The text, which UTF-8 can hold; made safe again it stays as it is.
    """
    return (_IN_LINES if lines else _IN_A_LINE).sub(_escape, mask(str(text)))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _NAMES:
        return _NAMES[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def make_logs_printable() -> None:
    """Make what libraries log printable: openai logs headers of the server's.

    It is for what the root logger and Python's last resort print, as long as the
    process runs.
    """
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler is not None:
            handler.addFilter(_make_printable)


def _make_printable(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage(), lines=True), ()
    if record.exc_info:
        text = logging.Formatter().formatException(record.exc_info)
        record.exc_text = printable(text, lines=True)
    return True


def shorten(text: str, longest: int) -> str:
    """Make a text printable and cut it.

    text (str): The text.
    longest (int): How many characters may be left.
    RETURNS (str): The text; with "…" at its end if it was longer.
    """
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def escape_markdown(text: object) -> str:
    """Write a text as Markdown that shows it, in a line or in the cell of a table.

    text (object): Any text.
    RETURNS (str): One line without markup, HTML, links or columns of its own.
    """
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(printable(text), quote=False))


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1
) -> str:
    """Write a table whose first columns are words and whose others are numbers.

    header (Sequence[str]): The titles of its columns.
    rows (Sequence[Sequence[str]]): Its rows.
    words (int): How many columns are words.
    RETURNS (str): Markdown, in which cells are escaped.
    """
    marks = ["---"] * words + ["---:"] * (len(header) - words)
    cells = [[escape_markdown(cell) for cell in row] for row in [header, *rows]]
    cells.insert(1, marks)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def code_span(text: object) -> str:
    """Write a text as a code span of Markdown. In a table it may not hold a pipe.

    text (object): Any text.
    RETURNS (str): The span, with more backticks around it than in it.
    """
    shown = printable(text)
    fence = _make_fence(shown, 1)
    around = " " if "`" in shown or not shown else ""
    return f"{fence}{around}{shown}{around}{fence}"


def code_block(text: object, language: str = "") -> str:
    """Write a text as a fenced block of Markdown.

    text (object): Any text.
    language (str): What it is highlighted as.
    RETURNS (str): The block, whose fence is longer than any in the text.
    """
    shown = printable(text, lines=True)
    fence = _make_fence(shown, 3)
    return f"{fence}{language}\n{shown}\n{fence}"


def _make_fence(text: str, shortest: int) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(shortest, longest + 1)
