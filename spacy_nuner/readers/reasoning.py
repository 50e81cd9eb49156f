"""What a model thought before it answered, where the server left that in the answer.

Drafts in it look like annotations, and the model threw them away. Models that think
write tags of their own around it, of which servers pass on some, all or none.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

_THOUGHT = (
    r"(?:(?:inner|internal)[ _]?)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection"
    r"|analysis|scratch_?pad|rationale|monologue|deliberation"
    r"|cot|chain_of_thought|plan(?:ning)?)"
)
_ANSWER = r"(?:final[ _]?)?(?:answer|response|solution|output)"
# <think>, <think time="3">, <|think|>, <seed:think>, <|begin_of_thought|>,
# <|START_THINKING|>, [THINK], ◁think▷, &lt;think&gt;
_LEFT, _RIGHT = r"(?:<|&lt;|◁|\[|＜) ?[|｜]? ?", r" ?[|｜]? ?(?:>|&gt;|▷|\]|＞)"
_BEGIN = r"(?:\w{1,20}:|begin[ _▁](?:of[_▁])?|start[ _▁]|ant)?"
_END = r"(?:/ ?(?:\w{1,20}:|ant)?|end[ _▁](?:of[_▁])?)"
_KINDS = {
    # The answer begins. Harmony is what gpt-oss writes.
    "answer": (
        r"<\|channel\|> ?final\b(?:[^<\n]|<\|constrain\|>){0,200}<\|message\|>"
        r"|<\|start\|>assistant(?:<\|message\|>|(?!<\|channel\|>))"
        r"|<\|(?:im_start|start_header_id)\|>assistant(?:<\|end_header_id\|>)?"
        r"|<start_of_turn>model|<｜Assistant｜>|assistantfinal"
        rf"|{_LEFT}{_BEGIN}{_ANSWER}{_RIGHT}"
        r"|^here(?: is|['’]s) my (?:response|answer):"
    ),
    # Somebody else speaks, whom the model made up or the server repeats.
    "other": (
        r"<\|(?:im_start|start_header_id|start)\|>(?:user|system|developer)"
        r"|<start_of_turn>user|<｜User｜>"
    ),
    "open": (
        r"<\|channel\|> ?(?:analysis|commentary)\b(?:[^<\n]{0,200}<\|message\|>)?"
        r"|<\|channel> ?thought\b|\Aanalysis(?=[A-Z])"
        rf"|{_LEFT}{_BEGIN}{_THOUGHT}(?:\s[^<>\[\]\n]{{0,200}})?{_RIGHT}"
        r"|^thinking\.\.\. *$|^here(?: is|['’]s) my thought process:"
    ),
    "close": (
        rf"<channel\|>|{_LEFT}{_END}{_THOUGHT}{_RIGHT}|^\.\.\. ?done thinking\. *$"
    ),
    # What says nothing: <|im_end|>, </answer>.
    "token": (
        rf"{_LEFT}{_END}{_ANSWER}{_RIGHT}|<\|start\|>assistant|<\|\w{{1,40}}\|>|<｜[\w▁]{{1,40}}｜>"
        r"|</?s>|<(?:eos|bos|pad)>|<(?:start|end)_of_turn>|\[/?INST\]"
    ),
    # The column of a line ends.
    "line": r"\n",
    "column": r"<>|-\|-",
}
_MARKS = re.compile(
    # What no tag begins with saves the time to try them all.
    r"(?!<<|<\|<|\[\[)(?:"
    + "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items())
    + ")",
    re.IGNORECASE | re.MULTILINE,
)
# Most answers have none of it.
_HINT = re.compile(r"<[^>]|&lt;|[◁＜]|\[[^\d\W]|\[/|^analysis|done thinking|Here", re.M)
# Around a tag that is an entity itself, or that a line begins with.
_AROUND = " \t\r`\"'*_>#|-"


class Answered(NamedTuple):
    """Where in a content the answer stands.

    ranges (list[tuple[int, int]]): Its parts, as offsets.
    finished (bool): Whether the model came to an end with its thoughts.
    """

    ranges: list[tuple[int, int]]
    finished: bool


def strip_reasoning(content: str, *, text: str | None = None) -> tuple[str, bool]:
    """Leave out of a content what is not the answer.

    content (str): The content.
    text (str | None): The text that was annotated, which may hold such tags itself.
    RETURNS (tuple[str, bool]): The answer, and whether the model came to it: thoughts
        without an end are an answer that was cut.
    """
    ranges, finished = find_answer(content, text=text)
    parts: list[str] = []
    before = 0
    for start, end in ranges:
        if parts and "\n" in content[before:start]:
            parts.append("\n")
        parts.append(content[start:end])
        before = end
    return "".join(parts), finished


def find_answer(
    content: str,
    *,
    text: str | None = None,
    quoted: Sequence[tuple[int, int]] = (),
) -> Answered:
    """Find the answer in a content.

    content (str): The content.
    text (str | None): The text that was annotated.
    quoted (Sequence[tuple[int, int]]): Parts, from left to right, in which a tag is
        only mentioned, such as JSON.
    RETURNS (Answered): Where the answer stands. With tags of an end alone it is what
        follows the last of them.
    """
    reader = _Reader(content)
    if _HINT.search(content):
        marks = list(_find_marks(content, text, quoted))
        for mark, following in zip_longest(marks, marks[1:]):
            if mark.kind != "open" or mark.leads or _ends(mark, following):
                getattr(reader, mark.kind)(mark)
    if not reader.depth:
        reader.ranges.append((reader.begin, len(content)))
    return Answered(reader.ranges, finished=not reader.depth or reader.spoken)


@dataclass
class _Reader:
    """Goes from tag to tag.

    content (str): The content.
    ranges (list[tuple[int, int]]): The parts of the answer so far.
    begin (int): Where the part under way begins.
    depth (int): How deep in thought the model is; 1 too while another speaks.
    opened (int): Where the innermost thought begins.
    closed (bool): Whether a thought has ended.
    answered (bool): Whether a tag said that the answer begins.
    spoken (bool): Whether it was another who spoke last.
    """

    content: str
    ranges: list[tuple[int, int]] = field(default_factory=list)
    begin: int = 0
    depth: int = 0
    opened: int = 0
    closed: bool = False
    answered: bool = False
    spoken: bool = False

    def __post_init__(self) -> None:
        self._end = len(self.content.rstrip())

    def open(self, mark: "_Mark") -> None:
        if self.depth:
            gap = self.content[self.opened : min(mark.start, self.opened + 50)]
            if not mark.leads or not gap.strip():
                # Only mentioned, or written by the server and the model both.
                return
        self._pause(mark)
        self.depth, self.opened, self.spoken = self.depth + 1, mark.end, False

    def close(self, mark: "_Mark") -> None:
        if self.depth:
            self.depth -= 1
        elif mark.inside:
            return
        elif self.closed and mark.end >= self._end:
            # One too many at the end takes nothing away.
            self._pause(mark)
        else:
            self.ranges.clear()
        self.begin, self.closed = mark.end, True

    def answer(self, mark: "_Mark") -> None:
        if self.answered:
            self._pause(mark)
        else:
            self.ranges.clear()
        self.begin, self.depth, self.answered = mark.end, 0, True

    def other(self, mark: "_Mark") -> None:
        self._pause(mark)
        self.depth, self.spoken = 1, True

    def token(self, mark: "_Mark") -> None:
        self._pause(mark)
        self.begin = mark.end

    def _pause(self, mark: "_Mark") -> None:
        if not self.depth:
            self.ranges.append((self.begin, mark.start))


class _Mark(NamedTuple):
    kind: str
    start: int
    end: int
    line: int
    # Whether its line begins with it.
    leads: bool
    # Whether it stands in the midst of a concept or a description.
    inside: bool


def _ends(mark: _Mark, following: _Mark | None) -> bool:
    """Whether a thought that begins in the midst of a line has an end.

    Else its tag is only mentioned, such as in a description.
    """
    if following is None or following.kind != "close":
        return False
    return following.line == mark.line or not following.inside


def _find_marks(
    content: str, text: str | None, quoted: Sequence[tuple[int, int]]
) -> Iterator[_Mark]:
    """Find the tags that are not part of an annotation, in one pass."""
    folded = (text or "").casefold()
    found = [(one.lastgroup or "", *one.span()) for one in _MARKS.finditer(content)]
    # Where the column of each ends, and whether its line does so too.
    ahead: list[tuple[int, bool]] = []
    right, last = len(content), True
    for kind, start, _ in reversed(found):
        ahead.append((right, last))
        if kind in ("line", "column"):
            right, last = start, kind == "line"
    ahead.reverse()
    left, column, lines = 0, 0, 0
    quotes = iter([*quoted, (len(content), len(content) + 1)])
    quote = next(quotes)
    for (kind, start, end), (right, last) in zip(found, ahead, strict=True):
        while quote[1] <= start:
            quote = next(quotes)
        if quote[0] <= start:
            continue
        if kind in ("line", "column"):
            left, column = end, 0 if kind == "line" else column + 1
            lines += kind == "line"
            continue
        if (column or not last) and right - left <= len(folded) + len("<analysis>"):
            # The text's own, or an entity in angle brackets.
            words = content[left:right].strip(_AROUND)
            alone = words == content[start:end].strip(_AROUND)
            if words.casefold() in folded or (alone and not (last and kind == "close")):
                continue
        near = start - left < 200
        leads = near and not column and not content[left:start].strip(_AROUND)
        inside = column > 0 and not (last and right - end < 200)
        inside = inside or (column > 0 and bool(content[end:right].strip()))
        yield _Mark(kind, start, end, lines, leads, inside)
        left = end
