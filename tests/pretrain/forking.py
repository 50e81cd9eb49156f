"""Forks a child for each command, so that importing is paid for once."""

import json
import os
import sys

import torch

from spacy_nuner.cli.app import app
from spacy_nuner.pretrain import training  # noqa: F401


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


def run(arguments):
    """Run a command with its output in the file that is named first."""
    output, *arguments = arguments
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    torch.set_num_threads(1)
    try:
        app(arguments)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    except BaseException:
        os._exit(70)


def tell(value):
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
