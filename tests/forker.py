"""Runs the command line in children of a process that has imported it already."""

import importlib
import json
import os
import subprocess
import sys

from .conftest import ROOT


class Forker:
    """Forks a child for each command, so that importing is paid for once."""

    def __init__(self, *modules, env=None):
        """modules: What the process imports. env: Variables beside those here."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forker", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
        )
        self._read()

    def _read(self):
        return json.loads(self._process.stdout.readline())

    def _ask(self, what):
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._read()

    def start(self, *args, output=os.devnull, cwd=None):
        """Start a command, its output in a file; give its process id.

        It is one of `spacy nuner`, or of spaCy where it begins with "spacy".
        """
        return self._ask([str(output), str(cwd or ROOT), *map(str, args)])

    def wait(self, pid):
        """Wait for a command; give its exit code, negative for a signal."""
        return self._ask(pid)

    def close(self):
        self._process.communicate()


def main(modules):
    for module in modules:
        importlib.import_module(module)
    tell(None)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            _, status = os.waitpid(asked, 0)
            tell(os.waitstatus_to_exitcode(status))
            continue
        child = os.fork()
        if child == 0:
            run(*asked)
        tell(child)


def run(output, cwd, *args):
    os.chdir(cwd)
    nothing = os.open(os.devnull, os.O_RDONLY)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for source, stream in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(source, stream)
    try:
        call(args)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    except BaseException:
        os._exit(70)


def call(args):
    if args[0] == "spacy":
        from spacy.cli._util import setup_cli

        sys.argv = list(args)
        setup_cli()
    else:
        from spacy_nuner.cli.app import app

        app(list(args))


def tell(value):
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
