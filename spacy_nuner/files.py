"""Atomic writing of files and folders, and hashes of files."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import Errors, NunerError

# In a work folder: which run it belongs to.
RUN_FILE = "run.json"
# Bytes of a first line that are read to tell whose file it is.
MAX_FIRST_LINE = 1_000_000

PACKAGE = Path(__file__).parent


def hash_file(path: Path) -> str:
    """Take the SHA-256 of a file.

    path (Path): The file.
    RETURNS (str): In hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_shipped(name: str) -> Path:
    """Find a file or folder that ships with the package.

    name (str): Its path in the repository, such as "configs/ner.cfg".
    RETURNS (Path): In the package, where a wheel has it, or in the checkout of an
        editable installation.
    """
    inside = PACKAGE / name
    return inside if inside.exists() else PACKAGE.parent / name


@contextlib.contextmanager
def replacing(path: Path, *, marker: str | None = None) -> Iterator[Path]:
    """Write to a temporary path and rename it if the block succeeds.

    path (Path): The final path of the file or folder.
    marker (str | None): For a folder: the file that shows that a folder at `path` was
        made by the same command and may be replaced. None: `path` is a file.
    YIELDS (Path): The temporary path. A folder exists already, a file does not.
    RAISES (NunerError): N003 if it can't be written, N004 if there is a folder that
        this command did not make.
    """
    if marker is not None and _is_foreign(path, marker):
        raise NunerError(Errors.N004, path=path, expected=marker)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        target = temporary / path.name
        if marker is not None:
            target.mkdir()
        yield target
        if marker is not None and path.exists():
            # os.replace can't replace a folder that is not empty.
            path.rename(temporary / "old")
        _put(target, path, temporary / "old")
    except OSError as error:
        # Errors in reading something else are not ours to explain.
        if temporary is None or _lies_in(error, temporary, path):
            reason = error.strerror or str(error)
            raise NunerError(Errors.N003, path=path, reason=reason) from error
        raise
    finally:
        if temporary is not None:
            if (temporary / "old").exists() and not path.exists():
                # Interrupted just before the new folder was renamed.
                (temporary / "old").rename(path)
            shutil.rmtree(temporary, ignore_errors=True)


def check_own(path: Path, sidecar: Path) -> None:
    """Refuse to replace a file that the same command did not make.

    path (Path): The file that shall be written.
    sidecar (Path): What the command writes together with it.
    RAISES (NunerError): N110 if the file exists and the other does not.
    """
    if path.exists() and not sidecar.exists():
        reason = f"there is no '{sidecar.name}' in its folder"
        raise NunerError(Errors.N110, path=path, reason=reason)


def check_own_rows(path: Path, source: str | Path, *, keys: Sequence[str]) -> None:
    """Refuse to replace a file that does not hold what the same command writes.

    path (Path): The JSON Lines file that shall be written.
    source (str | Path): What is read meanwhile.
    keys (Sequence[str]): What each row of the command's has.
    RAISES (NunerError): N110 if it is the source, or its first line is no such row.
    """
    if not path.is_file():
        return
    if path.resolve() == Path(source).resolve():
        raise NunerError(Errors.N110, path=path, reason="it is the input")
    with path.open("rb") as file:
        first = file.readline(MAX_FIRST_LINE)
    try:
        row = json.loads(first)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not set(keys) <= set(row):
        reason = f"its first line is no object with {', '.join(keys)}"
        raise NunerError(Errors.N110, path=path, reason=reason)


@contextlib.contextmanager
def resuming(path: Path, *, marker: str, run: str) -> Iterator[Path]:
    """Write a folder in a run that can be resumed.

    It is written in a folder `<name>.work` next to the final one. If the block
    succeeds, the folder `<name>` in it is moved to `path` and the rest deleted. If not,
    even if the process is killed, the work folder stays, and the same run finds it.

    path (Path): The final path of the folder.
    marker (str): The file that shows that a folder at `path` was made by the same
        command and may be replaced.
    run (str): Identifies input and settings. The work folder of another run is deleted.
    YIELDS (Path): The work folder, with the folder `<name>` in it.
    RAISES (NunerError): N003 if it can't be written, N004 if there is a folder that
        this command did not make.
    """
    work = path.with_name(f"{path.name}.work")
    for folder, expected in ((path, marker), (work, RUN_FILE)):
        if _is_foreign(folder, expected):
            raise NunerError(Errors.N004, path=folder, expected=expected)
    try:
        _open_work(work, path, run)
        yield work
        if path.exists():
            path.rename(work / "old")
        _put(work / path.name, path, work / "old")
        shutil.rmtree(work)
    except OSError as error:
        if _lies_in(error, work, path):
            reason = error.strerror or str(error)
            raise NunerError(Errors.N003, path=path, reason=reason) from error
        raise


def _open_work(work: Path, path: Path, run: str) -> None:
    old, mark = work / "old", work / RUN_FILE
    if old.exists() and not path.exists():
        # Killed just before the new folder was renamed.
        old.rename(path)
    if old.exists() or (mark.exists() and mark.read_text(encoding="utf8") != run):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    # First of all, since a folder without it is not replaced.
    mark.write_text(run, encoding="utf8")
    (work / path.name).mkdir(exist_ok=True)


def _put(target: Path, path: Path, old: Path) -> None:
    try:
        target.replace(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise


def _is_foreign(path: Path, marker: str) -> bool:
    if not path.exists():
        return False
    if not path.is_dir():
        return True
    return any(path.iterdir()) and not (path / marker).exists()


def _lies_in(error: OSError, *paths: Path) -> bool:
    if error.filename is None:
        # A full disk raised by write() names no file; an error of the network does
        # not either, and is none of ours.
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
    named = os.path.abspath(os.fsdecode(error.filename))
    return any(named.startswith(os.path.abspath(path)) for path in paths)
