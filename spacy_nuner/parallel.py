"""One pool of processes for jobs of many parts, resumed by part.

Imports nothing heavy by itself, since each worker does.
"""

import gc
import multiprocessing
import multiprocessing.connection
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

from .errors import Errors, NunerError

if TYPE_CHECKING:
    from tqdm import tqdm


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Share:
    """What one of several machines does of a job.

    index (int): Which of them it is, from 0.
    count (int): How many there are.
    """

    index: int
    count: int


ALL = Share(0, 1)


class Part(Protocol):
    """A part of a job: depends on nothing but itself, and writes files.

    So any process can do it, in any order, and a part whose files exist is not done
    again.
    """

    @property
    def size(self) -> int:
        """How much of the progress bar the part is."""

    def is_done(self) -> bool:
        """RETURNS (bool): Whether all files of the part exist."""

    def write(self) -> Any:
        """Write the files of the part, the one that shows that it is done last.

        RETURNS (Any): What is to be said of it, if anything.
        """


def import_without_torch() -> None:
    """Prepare a process whose parts need spaCy's tokenizers, and no model."""
    # There is nothing to be found among the rows and docs of a part, and looking takes
    # a tenth of the time.
    gc.disable()
    _import_spacy_without_torch()
    # Nor does a tokenizer of transformers import torch, which would warn of it.
    os.environ.update(USE_TORCH="0", TRANSFORMERS_NO_ADVISORY_WARNINGS="1")


def write_parts(
    parts: Iterable[Part],
    *,
    n_process: int,
    bar: "tqdm",
    prepare: Callable[[], None] = import_without_torch,
    on_written: Callable[[Any], None] = lambda result: None,
) -> int:
    """Write the parts that are not done yet.

    parts (Iterable[Part]): The parts; one more than there are processes is read ahead.
    n_process (int): How many processes to use; with 1, or for a single part, it is
        this one. The files are the same for any number.
    bar (tqdm): Advanced by the size of each part; those that were done count as there
        from the beginning.
    prepare (Callable[[], None]): What each process but this one does first.
    on_written (Callable[[Any], None]): Called with what `Part.write` returned.
    RETURNS (int): How many parts there are.
    RAISES (NunerError): N106 if a process died, and what `Part.write` raises.
    """
    count = 0

    def open_parts() -> Iterator[Part]:
        nonlocal count
        for part in parts:
            count += 1
            if part.is_done():
                advance_done(bar, part.size)
            else:
                yield part

    todo = open_parts()
    # A single part is not worth a second process.
    first = list(islice(todo, 2))
    if n_process == 1 or len(first) < 2:
        for part in chain(first, todo):
            on_written(part.write())
            bar.update(part.size)
    else:
        with _open_pool(n_process, prepare) as pool:
            _write_in_pool(pool, chain(first, todo), n_process, bar, on_written)
    return count


def advance_done(bar: "tqdm", size: int) -> None:
    """Advance a bar by what an earlier run did: no sign of how fast this one is.

    bar (tqdm): The bar.
    size (int): By how much.
    """
    # One that is not shown has no beginning.
    if not bar.disable:
        bar.initial += size
    bar.update(size)


@contextmanager
def _open_pool(
    n_process: int, prepare: Callable[[], None]
) -> Iterator[ProcessPoolExecutor]:
    # A process that is forked hangs where this one has already run torch, and is not
    # to be had on every system; a spawned one works everywhere.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        n_process, mp_context=context, initializer=start_worker, initargs=(prepare,)
    )
    try:
        yield pool
    except BrokenProcessPool as error:
        raise NunerError(Errors.N106, count=n_process) from error
    finally:
        # After an error only the parts that are being written are waited for.
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that are started here compute with one thread.

    OpenMP, OpenBLAS, MKL and Arrow take the size of their pools from these variables
    when they are loaded, mostly before a worker runs a line of ours.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _write_in_pool(
    pool: ProcessPoolExecutor,
    parts: Iterable[Part],
    n_process: int,
    bar: "tqdm",
    on_written: Callable[[Any], None],
) -> None:
    sizes: dict[Future[Any], int] = {}

    def collect() -> None:
        done, _ = wait(sizes, return_when=FIRST_COMPLETED)
        for future in done:
            size = sizes.pop(future)
            on_written(future.result())
            bar.update(size)

    for part in parts:
        # Pickled, parts that wait take a third of the memory.
        packed = pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
        # A worker is started where a part is submitted that none is free for.
        with _one_thread_each():
            sizes[pool.submit(_write_packed, packed)] = part.size
        if len(sizes) > n_process:
            collect()
    while sizes:
        collect()


def _write_packed(packed: bytes) -> Any:
    result = pickle.loads(packed).write()
    # The worker may collect no cycles by itself.
    gc.collect()
    return result


def start_worker(prepare: Callable[[], None] = import_without_torch) -> None:
    """Prepare a process before it is given its first part.

    prepare (Callable[[], None]): What it does beside.
    """
    end_with_parent()
    prepare()


def end_with_parent() -> None:
    """End a worker whose parent is gone, even if killed: it would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _import_spacy_without_torch() -> None:
    """Save the 180 MB and the second that torch takes of each process."""
    if "torch" in sys.modules or "thinc" in sys.modules:
        return
    # !!! DANGER: THIS MAKES `import torch` FAIL WHILE spaCy IS IMPORTED !!!
    #
    # `None` in `sys.modules` lets Python raise ImportError for a module that is
    # installed. thinc imports torch wherever it finds it and works without; it decides
    # that ONCE, when it is imported. So in a worker `thinc.compat.has_torch` is False
    # for ever, even after the entry is deleted below, and NOTHING THAT NEEDS torch
    # THROUGH thinc MAY RUN IN A WORKER: no model, no pipeline, no `nlp.to_disk`. To cut
    # texts into tokens and word pieces needs none of it. Never call this outside of a
    # process that `write_parts` spawned.
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        import spacy.tokens  # noqa: F401
    finally:
        del sys.modules["torch"]
