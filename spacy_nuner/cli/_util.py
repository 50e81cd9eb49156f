"""What the commands share: the terminal, errors as messages, lists between commas."""

import functools
import io
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import typer
import wasabi.util
from click import ClickException
from wasabi.printer import Printer

from ..errors import NunerError
from ..parallel import Share
from ..printing import printable

Command = TypeVar("Command", bound=Callable[..., Any])

NO_THRESHOLD = "nuner_ner has no threshold: the likeliest label of a token wins."
# What every command that reads annotations reads, see `readers.sources.find_sources`.
SOURCE = (
    "a file of any labelling tool (.jsonl, .json, .csv, .conll, .parquet or .spacy; "
    "plain, .gz, .bz2, .xz or .zst), a folder of files or of brat, or a data set on "
    "the hub as hub:NAME:CONFIG:SPLIT, such as hub:numind/NuNER::full"
)
# Of the commands that draw sentences, see `fewshot.draws.PROTOCOLS`.
PROTOCOL = (
    "How to draw: mentions (k of each label), k~2k (k to 2k of each, by Few-NERD's "
    "rule), or words (k words of each label)"
)
# Of every command that writes files into a folder of the user's.
OVERWRITE = typer.Option(
    False,
    "--overwrite",
    help="Replace files of the same names that this command did not make",
)
# Of the commands that compare encoders.
BACKBONES = typer.Option(
    ...,
    help="Encoders to compare, the base first, between commas: folders, hub names, "
    "package:NAME/PATH or default",
)
NAMES = typer.Option(
    "", help="What to call the backbones, between commas, such as base,nuner"
)
LABEL_NAMES = typer.Option(
    None,
    help="JSON of labels: a list, label -> description, or label -> object with name "
    "and description [default: the labels of the sets, read as words]",
)
# Of the commands that read labelled sets.
LANG = typer.Option("en", help="Language of the tokenizer for texts")
# Of the commands that read sentences out of any text, see `annotate.sample`.
FIELD = typer.Option("text", help="Field that holds the text")
SPLITTER = typer.Option(
    "rule", help="rule, line (a sentence a line), or the name of a spaCy pipeline"
)
SPACY_LANG = typer.Option("en", help="spaCy's code of the language")
MIN_WORDS = typer.Option(5, help="Shortest sentence, in words", min=1)
MAX_WORDS = typer.Option(80, help="Longest sentence, in words", min=1)
MAX_DOCUMENTS = typer.Option(None, help="Stop reading after so many documents", min=1)
SPLIT = typer.Option("train", help="Split of a data set on the hub")
# Of the commands that several machines can do together.
PART = typer.Option(
    None,
    help="Do one part of several, such as 2/4, to be joined by merge",
)
# Extra `--section.setting value` arguments are overrides of the config.
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


def split_list(value: str) -> list[str]:
    """Read a list as spaCy's commands take it.

    value (str): Values between commas, such as "person, city".
    RETURNS (list[str]): The values, without blanks around them or empty ones.
    """
    return [part for one in value.split(",") if (part := one.strip())]


def split_numbers(value: str) -> list[int]:
    """Read a list of whole numbers.

    value (str): Numbers between commas, such as "1,4,16,64".
    RETURNS (list[int]): The numbers.
    RAISES (typer.BadParameter): If one is no whole number, or there is none.
    """
    message = f"'{value}' is no list of whole numbers such as 1,4,16,64"
    try:
        numbers = [int(part) for part in split_list(value)]
    except ValueError as error:
        raise typer.BadParameter(message) from error
    if not numbers:
        raise typer.BadParameter(message)
    return numbers


def split_k(value: str) -> list[int | str]:
    """Read how much to draw.

    value (str): Numbers or "all" between commas, such as "1,4,all".
    RETURNS (list[int | str]): The numbers, and "all".
    RAISES (typer.BadParameter): If one is something else, or there is none.
    """
    parts = split_list(value)
    if not parts:
        raise typer.BadParameter("expected are numbers or all, such as 1,4,16,64")
    numbers = [part for part in parts if part != "all"]
    known = split_numbers(",".join(numbers)) if numbers else []
    return [*known, *(["all"] if "all" in parts else [])]


def read_share(value: str | None) -> Share:
    """Read which part of a job is done here.

    value (str | None): Such as "2/4"; None for all of it.
    RETURNS (Share): The part.
    RAISES (typer.BadParameter): If it is no part.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", value or "1/1", re.ASCII)
    index, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= index <= count:
        message = f"'{value}' is no part such as 1/4, 2/4, 3/4 or 4/4"
        raise typer.BadParameter(message, param_hint="--part")
    return Share(index - 1, count)


class Terminal(Printer):
    """wasabi's printer for texts from anywhere: nothing of them acts on the terminal.

    Colours are for terminals alone, and what the encoding does not have is escaped.
    """

    def text(self, title: Any = "", text: Any = "", *args: Any, **settings: Any) -> Any:
        """Print a message; see `Printer.text`, which all kinds of messages go through.

        title (Any): The message.
        text (Any): More of it.
        *args, **settings: As for `Printer.text`.
        RETURNS (Any): What it returns.
        """
        self.show_color = use_colours()
        return super().text(_in_terminal(title), _in_terminal(text), *args, **settings)

    def divider(self, text: str = "") -> None:  # type: ignore[override]
        """Print a headline; wasabi's is bold in a file too.

        text (str): The headline.
        """
        line = f" {_in_terminal(text)} ".center(self.line_max, "=")
        typer.echo("\n" + (typer.style(line, bold=True) if use_colours() else line))

    def table(self, data: Any, **settings: Any) -> Any:
        """Print a table; see `Printer.table`.

        data (Sequence[Sequence[Any]]): The rows.
        **settings: As for `Printer.table`, such as `header`.
        RETURNS (Any): What it returns.
        """
        header = [_in_terminal(name) for name in settings.pop("header", ())]
        rows = [[_in_terminal(cell) for cell in row] for row in data]
        return super().table(rows, header=header, **settings)


def use_colours() -> bool:
    """RETURNS (bool): Whether standard output is a terminal that shows colours."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return sys.stdout.isatty() and wanted and wasabi.util.supports_ansi()


def _in_terminal(text: Any) -> str:
    # wasabi can't print what is not ASCII where the encoding is not UTF-8.
    shown = printable(text)
    if wasabi.util.NO_UTF8:
        shown = shown.encode("ascii", "backslashreplace").decode("ascii")
    return shown


msg = Terminal()


def handle_errors(command: Command) -> Command:
    """Print a numbered error as one message and exit with 1, without a traceback.

    Any other error is a fault of the package: its traceback is printed without values
    of variables, and like everything that is printed without keys.

    A request to end (SIGTERM) ends the command as Ctrl-C does: its temporary files are
    removed.

    command (Callable): The function behind a command.
    RETURNS (Callable): The same with the error handling around it.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A name that the encoding does not have is no reason to stop.
                stream.reconfigure(errors="backslashreplace")
        try:
            with _exiting_on_sigterm(), _showing_warnings():
                return command(*args, **kwargs)
        except NunerError as error:
            msg.fail(str(error))
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort):
            raise
        except typer.BadParameter as error:
            error.message = printable(error.message)
            raise
        except ClickException as error:
            # Of spaCy, whose click need not be the one that typer brings.
            raise typer.BadParameter(printable(error.format_message())) from None
        except Exception:
            shown = printable(traceback.format_exc().rstrip(), lines=True)
            typer.echo(shown, err=True)
            raise typer.Exit(1) from None

    return wrapped  # type: ignore[return-value]


@contextmanager
def _showing_warnings() -> Iterator[None]:
    """Print numbered warnings as messages, without the line that they come from."""
    before = warnings.showwarning

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        if str(message).startswith("[W"):
            msg.warn(str(message))
        else:
            before(message, *args, **kwargs)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def _exiting_on_sigterm() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        # The exit code that a shell reports for a process that a signal ended.
        sys.exit(128 + number)

    try:
        previous = signal.signal(signal.SIGTERM, end)
    except ValueError:
        # Not in the main thread, which alone may set this.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
