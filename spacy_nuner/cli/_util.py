"""What the commands share: errors as messages, options that take several values."""

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from ..errors import NunerError

Command = TypeVar("Command", bound=Callable[..., Any])

# Extra `--section.setting value` arguments are overrides of the config.
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}


class ManyValues(TyperCommand):
    """A command whose list options take values until the next option.

    Click knows only `--k 1 --k 4`; people write `--k 1 4`. Positional arguments stand
    before the options.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        many = {
            flag
            for param in self.params
            if getattr(param, "multiple", False)
            for flag in param.opts
        }
        return super().parse_args(ctx, _repeat_flags(args, many))


def _repeat_flags(args: list[str], many: set[str]) -> list[str]:
    out: list[str] = []
    current: str | None = None
    for arg in args:
        if arg.startswith("--"):
            current = arg if arg in many else None
            if current is None:
                out.append(arg)
        elif current is not None:
            out.extend((current, arg))
        else:
            out.append(arg)
    return out


def split_list(value: str) -> list[str]:
    """Read a list as spaCy's commands take it.

    value (str): Values between commas, such as "person, city".
    RETURNS (list[str]): The values, without blanks around them or empty ones.
    """
    return [part for one in value.split(",") if (part := one.strip())]


def tell_errors(command: Command) -> Command:
    """Print a numbered error as one message and exit with 1, without a traceback.

    A request to end (SIGTERM) ends the command as Ctrl-C does: what it has begun to
    write beside its output is removed.

    command (Callable): The function behind a command.
    RETURNS (Callable): The same with the error handling around it.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            with _ending_in_order():
                return command(*args, **kwargs)
        except NunerError as error:
            from wasabi import msg

            msg.fail(str(error))
            raise typer.Exit(1) from None

    return wrapped  # type: ignore[return-value]


@contextmanager
def _ending_in_order() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        # What a shell says of a process that a signal ended.
        sys.exit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:
        # Not in the main thread, which alone may set this.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
