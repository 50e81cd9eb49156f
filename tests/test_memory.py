"""Free memory goes back to the system."""

import ctypes
import sys
from pathlib import Path

import pytest

from spacy_nuner import memory


def read_resident() -> int:
    """Bytes of this process."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="no glibc",
)
def test_holes_between_pieces_in_use_go_back():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    # Too small for a mapping of their own; every hundredth stays in use.
    size, number = 40_000, 5_000
    pieces = [libc.malloc(size) for _ in range(number)]
    for piece in pieces:
        ctypes.memset(piece, 1, size)
    for i, piece in enumerate(pieces):
        if i % 100:
            libc.free(piece)
    before = read_resident()
    assert memory.return_free_memory()
    after = read_resident()
    for piece in pieces[::100]:
        libc.free(piece)
    assert before - after > size * number / 2


def test_where_there_is_no_such_allocator(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "win32")
    assert not memory.return_free_memory()
