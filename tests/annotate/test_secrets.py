"""The API key goes to the server and nowhere else."""

import os
import subprocess
import sys

import pytest

from .server import Server

pytestmark = pytest.mark.slow


KEY = "sk-test-0123456789abcdef-SECRET"
WRONG = "sk-test-fedcba9876543210-WRONG"
CRASH = """
import sys
from spacy_nuner.annotate.client import Endpoint
from spacy_nuner.__main__ import main

async def crash(self, *args):
    key = self._key
    raise RuntimeError("a mistake of ours")

Endpoint.ask = crash
main()
"""


def run(path, folder, server, key, *, program=("-m", "spacy_nuner")):
    given = ("annotate", path, folder / "store.sqlite", "--log", folder / "log.jsonl")
    args = ("--base-url", server.url, "--model", "m", "--retries", "3")
    env = os.environ | {"OPENAI_API_KEY": key, "OPENAI_LOG": "debug"}
    return subprocess.run(
        [sys.executable, *program, *map(str, given), *args],
        env=env,
        capture_output=True,
        check=False,
        cwd=folder,
    )


def test_a_key_is_nowhere_but_with_the_server(real_texts, write_sentences, tmp_path):
    path = write_sentences(real_texts[:60])
    runs = []
    with Server(key=KEY, faults=0.02, slow=0.1) as server:
        runs.append(run(path, tmp_path, server, WRONG))
        # The server repeats the key that it refused.
        assert runs[-1].returncode == 1
        assert b"bad key ***" in b" ".join(runs[-1].stdout.split())
        runs.append(run(path, tmp_path, server, KEY))
        assert runs[-1].returncode == 0
        assert len(server.answered) == 60
        more = write_sentences(real_texts[60:70])
        runs.append(run(more, tmp_path, server, KEY, program=("-c", CRASH)))
        assert runs[-1].returncode == 1
        assert b"a mistake of ours" in runs[-1].stderr
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) >= 3
    streams = [stream for one in runs for stream in (one.stdout, one.stderr)]
    for content in (*written, *streams):
        # Wrapped lines could hide it.
        flat = b"".join(content.split())
        assert KEY.encode() not in flat
        assert WRONG.encode() not in flat
