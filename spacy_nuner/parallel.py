"""The start of a process that converts chunks or shards; imports nothing by itself."""

import gc
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading


def start_worker() -> None:
    """Prepare a process before it is given its first chunk."""
    _end_with_parent()
    # There is nothing to be found among the rows and docs of a chunk, and looking
    # takes a tenth of the time.
    gc.disable()
    _import_spacy_without_torch()
    # Nor does a tokenizer of transformers, which would warn of it.
    os.environ.update(USE_TORCH="0", TRANSFORMERS_NO_ADVISORY_WARNINGS="1")


def _end_with_parent() -> None:
    """Let a process end when the one that started it is gone, even if it was killed.

    It would wait for work for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _import_spacy_without_torch() -> None:
    """Save the 180 MB and the second that torch takes of each process.

    thinc imports it where it is installed, and to tokenize needs none of it.
    """
    if "torch" in sys.modules or "thinc" in sys.modules:
        return
    # What Python looks up here it does not import.
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        import spacy.tokens  # noqa: F401
    finally:
        del sys.modules["torch"]
