"""The fenced blocks of the documentation, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..conftest import ROOT

README = ROOT / "README.md"
PAGES = [
    README if README.exists() else ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
LANGUAGES = {"bash", "console", "python"}
# Why a block is not run: `<!-- needs: network -->` on the line before it.
NEEDS = {"network", "data", "time", "server", "gpu", "ray", "spark", "cluster"}
# The code of an earlier revision, whose commands are others: nothing is checked.
REVISIONS = {"38a1f28", "7a003f2"}

BLOCK = re.compile(
    r"^(?:<!-- needs: (?P<needs>[\w, ]+) -->\n)?"
    r"```(?P<language>[\w-]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# What ends a command of a script, apart from blanks.
SEPARATORS = {";", "&&", "||", "|", "&", "\n"}
SHELL_WORDS = {"do", "done", "then", "fi", "else", "for", "if"}


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, what it holds and why it is not run.

    name (str): Page and line, such as "docs/stats.md:7".
    language (str): The language behind the fence.
    text (str): What is between the fences.
    needs (tuple[str, ...]): What it needs that a test does not have.
    """

    name: str
    language: str
    text: str
    needs: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        """The block as a script for the shell, without prompts and printed output."""
        return "\n".join(_read_session(self.text)) if self._is_session else self.text

    @property
    def _is_session(self) -> bool:
        return self.language == "console"


def read_blocks(text: str, name: str) -> list[Block]:
    """Find the fenced blocks of a page.

    text (str): The page.
    name (str): What to call it.
    RETURNS (list[Block]): Its blocks in their order.
    """
    blocks = []
    for found in BLOCK.finditer(text):
        line = text[: found.start("text")].count("\n")
        needs = found["needs"].split(",") if found["needs"] else []
        block = Block(f"{name}:{line}", found["language"], found["text"])
        blocks.append(replace(block, needs=tuple(need.strip() for need in needs)))
    return blocks


def read_pages() -> dict[str, list[Block]]:
    """Read all pages of the documentation.

    RETURNS (dict[str, list[Block]]): Page -> its blocks that a test can read.
    """
    pages = {}
    for path in PAGES:
        name = path.relative_to(ROOT).as_posix()
        blocks = read_blocks(path.read_text(encoding="utf8"), name)
        pages[name] = [block for block in blocks if block.language in LANGUAGES]
    return pages


def _read_session(text: str) -> Iterator[str]:
    """Keep what is typed: from a prompt to the end of its command."""
    open_loops = 0
    goes_on = False
    for line in text.splitlines():
        if line.startswith("$ "):
            line = line[2:]
        elif not (goes_on or open_loops):
            continue
        words = re.findall(r"[\w-]+", line)
        open_loops += words.count("do") - words.count("done")
        goes_on = line.endswith("\\")
        yield line


def split_commands(script: str) -> list[list[str]]:
    """Cut a script into commands.

    script (str): For the shell.
    RETURNS (list[list[str]]): The words of each command; variables stay as they are,
        redirections are left out.
    """
    commands: list[list[str]] = [[]]
    lexer = shlex.shlex(
        script.replace("\\\n", " ").replace("\n", " ; "),
        posix=True,
        punctuation_chars=";&|<>",
    )
    lexer.whitespace_split = True
    is_target = False
    for word in lexer:
        if word in SEPARATORS:
            commands.append([])
        elif set(word) <= {"<", ">", "&"}:
            is_target = True
        elif is_target:
            is_target = False
        elif commands[-1] or word not in SHELL_WORDS:
            commands[-1].append(word)
    return [command for command in commands if command]
