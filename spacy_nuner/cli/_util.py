"""What the commands share: errors as messages, lists between commas."""

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import typer

from ..errors import NunerError

Command = TypeVar("Command", bound=Callable[..., Any])

# What every command that reads annotations reads, see `readers.sources.find_sources`.
SOURCE = (
    "a file of any labelling tool (.jsonl, .json, .csv, .conll, .parquet or .spacy; "
    "plain, .gz, .bz2, .xz or .zst), a folder of files or of brat, or a data set on "
    "the hub as hub:NAME:CONFIG:SPLIT, such as hub:numind/NuNER::full"
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
    RAISES (typer.BadParameter): If one is no whole number.
    """
    try:
        return [int(part) for part in split_list(value)]
    except ValueError as error:
        message = f"'{value}' is no list of whole numbers such as 1,4,16,64"
        raise typer.BadParameter(message) from error


def handle_errors(command: Command) -> Command:
    """Print a numbered error as one message and exit with 1, without a traceback.

    A request to end (SIGTERM) ends the command as Ctrl-C does: its temporary files are
    removed.

    command (Callable): The function behind a command.
    RETURNS (Callable): The same with the error handling around it.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            with _exiting_on_sigterm():
                return command(*args, **kwargs)
        except NunerError as error:
            from wasabi import msg

            msg.fail(str(error))
            raise typer.Exit(1) from None

    return wrapped  # type: ignore[return-value]


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
