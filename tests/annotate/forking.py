"""Forks a child for each command, so that importing is paid for once."""

import json
import os
import sys

import httpx2  # noqa: F401
import openai  # noqa: F401

from spacy_nuner.annotate import asking, batch  # noqa: F401
from spacy_nuner.cli.app import app


def main():
    tell(None)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            _, status = os.waitpid(asked, 0)
            tell(os.waitstatus_to_exitcode(status))
            continue
        child = os.fork()
        if child == 0:
            run(asked)
        tell(child)


def run(args):
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    try:
        app(args)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    except BaseException:
        os._exit(70)


def tell(value):
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
