"""Chunks to shards in several processes."""

import gc
import multiprocessing
import pickle
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from ..errors import NunerError
from .process import Settings
from .shards import Chunk, PartFiles, write_chunk
from .worker import start_worker


def write_chunks(
    chunks: Iterable[Chunk],
    files: PartFiles,
    settings: Settings,
    *,
    n_process: int,
    bar: tqdm,
) -> None:
    """Convert chunks, each in one of several processes.

    chunks (Iterable[Chunk]): The chunks; one more than there are processes is read
        ahead.
    files (PartFiles): Where the files go.
    settings (Settings): What to keep.
    n_process (int): How many processes; with 1 it is this one.
    bar (tqdm): Told of the bytes that are done.
    RAISES (NunerError): N106 if a process died.
    """
    if n_process == 1:
        for chunk in chunks:
            write_chunk(chunk, files, settings, bar.update)
        return
    # A process that is forked hangs where this one has already run torch, and is not
    # to be had on every system; a spawned one works everywhere.
    context = multiprocessing.get_context("spawn")
    sizes: dict[Future[None], int] = {}
    pool = ProcessPoolExecutor(n_process, mp_context=context, initializer=start_worker)
    try:
        for chunk in chunks:
            # Packed, rows that wait take a third of the memory.
            packed = pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL)
            future = pool.submit(_write_packed, packed, files, settings)
            sizes[future] = chunk.size
            if len(sizes) > n_process:
                _collect(sizes, bar)
        while sizes:
            _collect(sizes, bar)
    except BrokenProcessPool as error:
        raise NunerError("N106", count=n_process) from error
    finally:
        # After an error only the chunks that are being converted are waited for.
        pool.shutdown(cancel_futures=True)


def _write_packed(packed: bytes, files: PartFiles, settings: Settings) -> None:
    write_chunk(pickle.loads(packed), files, settings)
    # The worker collects no cycles by itself: see there.
    gc.collect()


def _collect(sizes: dict[Future[None], int], bar: tqdm) -> None:
    done, _ = wait(sizes, return_when=FIRST_COMPLETED)
    for future in done:
        bar.update(sizes.pop(future))
        future.result()
