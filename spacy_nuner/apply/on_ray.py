"""The parts of a corpus on a Ray cluster, by Ray Data.

One task reads the corpus on the machine where the run was started, actors tag its
parts, and this process writes them: so the machines of the cluster need the pipeline,
but neither the input nor the output.
"""

import dataclasses
import json
import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import Errors, NunerError
from ..parallel import advance_done
from .parts import PartFiles, TextPart, get_tagger, start_tagging
from .tagger import Tagged, TagSettings

if TYPE_CHECKING:
    import pyarrow
    from tqdm import tqdm

Cut = Callable[[], Iterable[TextPart]]


class RayTagger:
    """An actor of Ray Data: it loads the pipeline once and tags a part a call."""

    def __init__(self, settings: TagSettings) -> None:
        """settings (TagSettings): How rows are tagged."""
        start_tagging()
        self.settings = settings

    def __call__(self, block: "pyarrow.Table") -> "pyarrow.Table":
        """Tag a part.

        block (pyarrow.Table): The part; see `_read_parts`.
        RETURNS (pyarrow.Table): The contents of its files as `result`, or the error
            that ends the run.
        """
        (part,) = block.to_pylist()
        if rows := part.pop("rows"):
            # An error of the constructor would be tried again for ever, and Ray would
            # wrap one that is raised here.
            try:
                tagged = get_tagger(self.settings).tag(pickle.loads(rows))
                part["result"] = pickle.dumps(tagged)
            except NunerError as error:
                part["result"] = pickle.dumps(error)
        return _to_table(part)


def tag_on_ray(
    cut: Cut,
    settings: TagSettings,
    part_files: Callable[[int], PartFiles],
    *,
    n_workers: int,
    bar: "tqdm",
    on_written: Callable[[int], None],
) -> int:
    """Tag the parts that are not done yet on a cluster, and write them here.

    Ray is connected to as `ray.init` does it: to the cluster in RAY_ADDRESS, to one
    that runs on this machine, or to a new one here.

    cut (Callable[[], Iterable[TextPart]]): Cuts the corpus into parts; it is called in
        a task on this machine too.
    settings (TagSettings): How they are tagged. With a GPU each worker has one of its
        own, whichever that is.
    part_files (Callable[[int], PartFiles]): Gives the files of a part by its number.
    n_workers (int): How many actors there are.
    bar (tqdm): Advanced by the size of each part.
    on_written (Callable[[int], None]): Called with the words of each part.
    RETURNS (int): How many parts there are.
    RAISES (NunerError): N006 if Ray is missing, N655 if it gives up; what `Tagger` and
        the reading of the corpus raise.
    """
    try:
        import ray
        from ray.data import ActorPoolStrategy, DataContext
        from ray.exceptions import RayError
    except ImportError as error:
        raise NunerError(Errors.N006, package="ray[data]", extra="ray") from error
    started = connect(ray)
    with warnings.catch_warnings():
        # Of settings that Ray has and deprecates, and nobody here uses.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current().copy()
    # Each part is a block of its own, which a worker gets as soon as it was read.
    context.target_max_block_size = context.target_min_block_size = 1
    context.enable_progress_bars = False
    try:
        with DataContext.current(context):
            here = ray.get_runtime_context().get_node_id()
            # It takes no core, so that it isn't waited for where workers have them all.
            parts = ray.data.from_items([here]).map_batches(
                partial(_read_parts, cut),
                batch_format="pyarrow",
                num_cpus=0,
                label_selector={"ray.io/node-id": here},
            )
            tagged = parts.map_batches(
                RayTagger,
                fn_constructor_args=(_localise(settings),),
                batch_size=1,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=n_workers),
                num_cpus=1,
                num_gpus=1 if settings.gpu_id >= 0 else 0,
            )
            count = 0
            for row in tagged.iter_rows():
                count += 1
                _write(row, part_files, bar, on_written)
            return count
    except RayError as error:
        raise NunerError(Errors.N655, reason=_last_line(error)) from error
    finally:
        if started:
            ray.shutdown()


def connect(ray: Any) -> bool:
    """Connect to a cluster, as `ray.init` does it.

    ray (module): Ray.
    RETURNS (bool): Whether there was no connection before.
    RAISES (NunerError): N655 if there is none now.
    """
    if ray.is_initialized():
        return False
    try:
        ray.init(
            include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    except Exception as error:  # of Python's kinds, and not of Ray's
        raise NunerError(Errors.N655, reason=_last_line(error)) from error
    return True


def _localise(settings: TagSettings) -> TagSettings:
    """The settings as a worker needs them, which starts in another folder."""
    name, gpu_id = settings.pipeline, settings.gpu_id
    if os.path.isdir(name):
        name = os.path.abspath(name)
    # Ray shows each worker its own GPU alone.
    return dataclasses.replace(settings, pipeline=name, gpu_id=min(gpu_id, 0))


def _read_parts(cut: Cut, start: "pyarrow.Table") -> "Iterator[pyarrow.Table]":
    """The parts, one a table; those that are done without their rows."""
    try:
        for part in cut():
            row = {
                "number": part.files.number,
                "size": part.size,
                "span": json.dumps(part.describe()),
                "rows": b"" if part.is_done() else pickle.dumps(part.rows),
                "result": b"",
            }
            yield _to_table(row)
    except NunerError as error:
        row = {"number": -1, "size": 0, "span": "", "rows": b""}
        yield _to_table({**row, "result": pickle.dumps(error)})


def _to_table(row: dict[str, Any]) -> "pyarrow.Table":
    import pyarrow

    return pyarrow.Table.from_pylist([row])


def _write(
    row: dict[str, Any],
    get_files: Callable[[int], PartFiles],
    bar: "tqdm",
    on_written: Callable[[int], None],
) -> None:
    if not row["result"]:
        advance_done(bar, row["size"])
        return
    result: Tagged | NunerError = pickle.loads(row["result"])
    if isinstance(result, NunerError):
        raise result
    get_files(row["number"]).write(result, json.loads(row["span"]))
    on_written(result.counts.words)
    bar.update(row["size"])


def _last_line(error: Exception) -> str:
    """What happened, which stands behind the traces of processes elsewhere."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
