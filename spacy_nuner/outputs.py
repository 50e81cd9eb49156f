"""What commands write: whole under its final name or not there, and nobody else's lost.

An output is a folder, or files that belong together in a folder of the user's. It is
written into a work folder in the same folder, `.NAME.work`, or `NAME.work` where a run
can be resumed:

    spacy_nuner.lock   held by the process that writes
    run.json           which process that is, of which command and run, and which
                       folder is new, once it is whole
    new/               what is being written
    done/              what is complete and is being moved to its final name

The next run with the same output completes `done/` and removes the rest. A manifest
lists what was written with the sizes, and nothing else is ever replaced or removed:
`.spacy_nuner.json` in a folder, `.NAME.spacy_nuner.json` for files.
"""

import contextlib
import ctypes
import errno
import json
import logging
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Errors, Message, NunerError

if TYPE_CHECKING:
    from filelock import BaseFileLock

MANIFEST = ".spacy_nuner.json"
LOCK = "spacy_nuner.lock"
RUN_FILE = "run.json"
TEMPORARY = "spacy_nuner.tmp"
# In a work folder of which nothing is known yet.
UNSIGNED = {LOCK, TEMPORARY}
# What a run that was killed may have left in its work folder.
LEFTOVERS = r"new/.*"
# A disk that is full or can't be written to.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
# How often a folder may be gone before it is locked.
MAX_TRIES = 1000
# Of Linux: the folder of relative paths, and to exchange two names.
AT_FDCWD, RENAME_EXCHANGE = -100, 2

logger = logging.getLogger("spacy_nuner")


@dataclass
class Work:
    """A work folder that this process alone writes to.

    path (Path): The output, links resolved.
    command (str): The command that writes it, as in the manifest.
    folder (Path): The work folder.
    leftovers (str): Regular expression of what a run may leave in it.
    names (frozenset[str]): For files: all that the command may write.
    keep (bool): Whether it stays if the block that writes it fails.
    unfinished (bool): Whether it stays if the block ends well, for a later run, and
        nothing in it becomes the output.
    """

    path: Path
    command: str
    folder: Path
    leftovers: str = LEFTOVERS
    names: frozenset[str] = frozenset()
    keep: bool = False
    unfinished: bool = False

    @property
    def new(self) -> Path:
        """What is being written."""
        return self.folder / "new"

    @property
    def done(self) -> Path:
        """What is complete."""
        return self.folder / "done"

    @property
    def target(self) -> Path:
        """An output folder while it is written."""
        return self.new / self.path.name

    def read_run(self) -> dict[str, Any] | None:
        """RETURNS (dict[str, Any] | None): `run.json`, if there is one of ours."""
        data = _read_json(self.folder / RUN_FILE)
        known = {"command", "output", "pid", "run"} <= set(data or ())
        return data if data and known and data["output"] == self.path.name else None

    def begin(self, run: str = "") -> None:
        """Go on with what is in the folder, or remove it if it is of another run.

        run (str): Identifies input and settings of a run that can be resumed.
        """
        before = self.read_run()
        if before is None or not run or before["run"] != run:
            self.clear()
        self.sign(run)
        self.target.mkdir(parents=True, exist_ok=True)
        self.keep = True

    def sign(self, run: str) -> None:
        """Write `run.json`."""
        names = {"command": self.command, "output": self.path.name}
        self._write_run({**names, "pid": os.getpid(), "run": run})

    def sign_whole(self) -> None:
        """Write down that the folder in `new/` is whole.

        By its number on the disk, which it keeps where it is moved: of two folders that
        are exchanged it tells which is the new one.
        """
        run = self.read_run() or {}
        self._write_run({**run, "whole": self.target.stat().st_ino})

    def _write_run(self, run: dict[str, Any]) -> None:
        _write_json(self.folder / TEMPORARY, run)
        (self.folder / TEMPORARY).replace(self.folder / RUN_FILE)

    def clear(self) -> None:
        """Remove what a run leaves, and nothing else."""
        for name in _list_files(self.folder):
            if name[-1] != "/" and self._is_leftover(name):
                (self.folder / name).unlink()
        _remove_empty(self.folder)

    def close(self) -> None:
        """Remove the folder, the lock last, if there is nothing else in it."""
        self.clear()
        if set(os.listdir(self.folder)) <= {*UNSIGNED, RUN_FILE}:
            for name in (TEMPORARY, RUN_FILE):
                (self.folder / name).unlink(missing_ok=True)
            # Not where an open file can't be removed, or another process has just made
            # its lock.
            with contextlib.suppress(OSError):
                (self.folder / LOCK).unlink()
                self.folder.rmdir()

    def find_foreign(self) -> str | None:
        """RETURNS (str | None): A file in it that no run of the command leaves there,
        or that another command can go on with, if any."""
        own = {*UNSIGNED, RUN_FILE}
        before = self.read_run()
        is_other = bool(before and before["run"] and before["command"] != self.command)
        for name in _list_files(self.folder):
            if name[-1] == "/" or name in own:
                continue
            if is_other or not self._is_leftover(name):
                return name
        return None

    def _is_leftover(self, name: str) -> bool:
        return re.fullmatch(self.leftovers, name, re.DOTALL) is not None


def check_output(
    path: str | Path,
    *,
    inputs: Iterable[str | Path] = (),
    folder: bool = False,
    replaced: bool = False,
) -> Path:
    """Refuse an output that can't be written or whose input would be harmed.

    path (str | Path): The output, which need not exist.
    inputs (Iterable[str | Path]): Files and folders that the command reads. A name of
        something else, such as one of the hub, is left alone.
    folder (bool): Whether it is a folder.
    replaced (bool): Whether the folder is replaced as a whole.
    RETURNS (Path): The output as an absolute path without links.
    RAISES (NunerError): N030 if it is an input, lies in one or has one in it; N032 if
        there is something of another kind, a link to a file or one that leads nowhere;
        N003 if there can't be such a path.
    """
    try:
        found = _find_obstacle(Path(path), folder=folder, replaced=replaced)
        resolved = Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        # A name that is too long, links in a circle, a zero byte.
        reason = getattr(error, "strerror", None) or str(error)
        raise NunerError(Errors.N003, path=path, reason=reason) from error
    if found:
        expected = "a folder" if folder else "a file or a name that is free"
        raise NunerError(Errors.N032, path=path, found=found, expected=expected)
    for one in inputs:
        if relation := _relate(resolved, one):
            raise NunerError(Errors.N030, path=path, relation=relation, input=one)
    return resolved


@contextlib.contextmanager
def write_folder(
    path: str | Path,
    *,
    command: str,
    inputs: Iterable[str | Path] = (),
    leftovers: str | None = None,
    wait: bool = False,
    damaged: bool = False,
) -> Iterator[Work]:
    """Write a folder, which replaces an earlier one of the same command.

    Files go to `Work.target`. If the block succeeds, this becomes the output, unless
    there is nothing in it.

    path (str | Path): The folder.
    command (str): The command.
    inputs (Iterable[str | Path]): What it reads.
    leftovers (str | None): For a run that can be resumed: regular expression of what it
        may leave in its work folder. The block calls `Work.begin`.
    wait (bool): Whether to wait for another process that writes it.
    damaged (bool): Whether files of the earlier folder may have lost their sizes.
    YIELDS (Work): The work folder.
    RAISES (NunerError): What `check_output` raises, N003 if it can't be written, N004
        if something would be lost, N031 if another process writes it.
    """
    path = check_output(path, inputs=inputs, folder=True, replaced=True)
    resumable = leftovers is not None
    with claimed(path, command, leftovers=leftovers, wait=wait) as work:
        _check_folder(path, command, damaged=damaged)
        if not resumable:
            work.target.mkdir(parents=True)
        yield work
        if work.unfinished or not any(_list_files(work.target)):
            return
        manifest = {"command": command, "files": _list_sizes(work.target)}
        _write_json(work.target / MANIFEST, manifest)
        _check_folder(path, command, damaged=damaged)
        work.sign_whole()
        work.new.rename(work.done)
        try:
            _put_folder(work)
        except OSError:
            # An earlier folder of somebody else's is in the way. What is complete must
            # not be taken for one that was replaced.
            work.done.rename(work.new)
            raise
        _discard(work, damaged=damaged)


@contextlib.contextmanager
def write_files(
    paths: Sequence[str | Path],
    *,
    command: str,
    inputs: Iterable[str | Path] = (),
    overwrite: bool = False,
) -> Iterator[Path]:
    """Write files that belong together.

    paths (Sequence[str | Path]): All files that the command may write, in one folder.
        Those of an earlier run that the block does not write are removed.
    command (str): The command.
    inputs (Iterable[str | Path]): What it reads.
    overwrite (bool): Whether to replace files that the command did not make.
    YIELDS (Path): A folder for the files, under their own names.
    RAISES (NunerError): What `check_output` raises, N003 if they can't be written, N031
        if another process writes them, N110 if there is one that the command did not
        make.
    """
    inputs = list(inputs)
    path = [check_output(one, inputs=inputs) for one in paths][0]
    names = [Path(one).name for one in paths]
    with claimed(path, command, names=names, overwrite=overwrite) as work:
        work.new.mkdir(parents=True)
        if not overwrite:
            _check_files(path, names, command)
        yield work.new
        written = _list_sizes(work.new)
        if not overwrite:
            _check_files(path, names, command)
        manifest = {"command": command, "files": written}
        _write_json(work.new / _name_manifest(path), manifest)
        work.new.rename(work.done)
        _put_files(work)


@contextlib.contextmanager
def claimed(
    path: Path,
    command: str,
    *,
    leftovers: str | None = None,
    names: Iterable[str] = (),
    overwrite: bool = False,
    wait: bool = False,
    busy: Message = Errors.N031,
) -> Iterator[Work]:
    """Keep other processes from writing an output.

    path (Path): The output, as `check_output` returns it.
    command (str): The command.
    leftovers (str | None): As for `write_folder`.
    names (Iterable[str]): For files: all that the command may write.
    overwrite (bool): As for `write_files`.
    wait (bool): Whether to wait for another process.
    busy (Message): The error if another process writes it.
    YIELDS (Work): The work folder. It has nothing of an earlier run in it, but of one
        that can be resumed.
    RAISES (NunerError): As `write_folder`.
    """
    name = f".{path.name}.work" if leftovers is None else f"{path.name}.work"
    folder = path.with_name(name)
    work = Work(path, command, folder, leftovers or LEFTOVERS, frozenset(names))
    with _explaining(work), _parents(path):
        lock = _lock(work, busy=busy, wait=wait)
        try:
            _complete(work, overwrite=overwrite)
            # What it holds is not touched before it is known to be all of ours.
            work.keep = True
            if found := work.find_foreign():
                _refuse_folder(work.folder, work.folder / found, command)
            run = (work.read_run() or {"run": ""})["run"]
            # Of a run that can be resumed, until it is known to be another one.
            work.keep = bool(leftovers and run)
            if not work.keep:
                work.clear()
            work.sign(run if work.keep else "")
            yield work
        except BaseException:
            with contextlib.suppress(OSError, NunerError):
                _complete(work, overwrite=overwrite)
                if not work.keep:
                    work.close()
            raise
        else:
            if not work.unfinished:
                work.close()
        finally:
            lock.release()


def _find_obstacle(path: Path, *, folder: bool, replaced: bool) -> str:
    """Say what is in the way of an output, if anything."""
    for one in (path, *path.parents):
        if one.is_symlink() and not (one.exists() if one == path else one.is_dir()):
            return f"the link '{one}' leads to nothing or to no folder"
    if path.exists():
        if path.is_dir() and not folder:
            return "there is a folder of this name"
        if path.is_file() and folder:
            return "there is a file of this name"
        if path.is_symlink() and not folder:
            return "it is a link"
        if not path.is_dir() and not path.is_file():
            return "it is neither a file nor a folder"
    resolved = path.resolve()
    if replaced and Path.cwd().is_relative_to(resolved):
        return "it is the current folder or has it inside, and would be replaced"
    if replaced and resolved.is_mount():
        return "another file system is mounted there, which can't be replaced"
    return ""


def _relate(output: Path, name: str | Path) -> str:
    """Say how an output lies to an input: "is", "lies in" or "has in it", if at all."""
    try:
        input_path = Path(name).resolve()
        if not input_path.exists():
            return ""
        # By what the names stand for, in whatever case they are written.
        if output.exists() and output.samefile(input_path):
            return "is"
        parents = [one for one in output.parents if one.exists()]
        if input_path.is_dir() and any(one.samefile(input_path) for one in parents):
            return "lies in"
        if output.is_dir() and any(map(output.samefile, input_path.parents)):
            return "has in it"
    except (OSError, RuntimeError, ValueError):
        # No path at all, such as a text.
        pass
    return ""


@contextlib.contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the folder that an output goes into; remove it if there is no output."""
    made = [one for one in path.parents if not one.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for one in made:
            # Not if there is something in it.
            with contextlib.suppress(OSError):
                one.rmdir()


@contextlib.contextmanager
def _explaining(work: Work) -> Iterator[None]:
    """Raise N003 for what keeps the output from being written."""
    try:
        yield
    except NunerError:
        raise
    except Exception as error:
        reason = str(error)
        if isinstance(error, OSError):
            named, reason = error.filename, error.strerror or reason
            if isinstance(named, str | bytes | os.PathLike):
                at = Path(os.path.abspath(os.fsdecode(named)))
                manifest = work.path.with_name(_name_manifest(work.path))
                own = (work.folder, work.path, manifest)
                inside = any(map(at.is_relative_to, own))
                is_ours = inside or work.path.is_relative_to(at)
            else:
                # A full disk raised by write() names no file; an error of the network
                # does not either, and is none of ours.
                is_ours = error.errno in DISK_ERRORS
        else:
            # Libraries in Rust have exceptions of their own, with the system's words.
            is_ours = any(os.strerror(code) in reason for code in DISK_ERRORS)
        if not is_ours:
            raise
        raise NunerError(Errors.N003, path=work.path, reason=reason) from error


def _lock(work: Work, *, busy: Message, wait: bool) -> "BaseFileLock":
    from filelock import FileLock, Timeout

    file, tries = work.folder / LOCK, 0
    while True:
        # The operating system releases it when the process ends, however that ends.
        lock = FileLock(file)
        try:
            # Nothing is made in a folder of somebody else.
            _check_signature(work)
            work.folder.mkdir(parents=True, exist_ok=True)
            file.touch()
            before = file.stat().st_ino
            lock.acquire(timeout=0)
            if file.stat().st_ino == before:
                return lock
        except (FileNotFoundError, FileExistsError):
            # The process that held it has just removed the folder. Where none can be
            # made, as in /proc, it is the same error.
            tries += 1
            if tries > MAX_TRIES:
                raise
        except Timeout as error:
            if not wait:
                pid = (work.read_run() or {}).get("pid", "(id unknown)")
                raise NunerError(busy, path=work.path, pid=pid) from error
            logger.warning("Another process writes '%s'; waiting.", work.path)
            with contextlib.suppress(FileNotFoundError):
                lock.acquire()
        # What is locked may be a file that was removed meanwhile.
        lock.release()


def _check_signature(work: Work) -> None:
    """Raise N004 for a work folder that is not of this package.

    Another process may make or remove it meanwhile. RAISES (FileNotFoundError)
    """
    folder = work.folder
    # One look, not one for each question.
    if os.path.lexists(folder) and not stat.S_ISDIR(os.lstat(folder).st_mode):
        _refuse_folder(folder, folder, work.command)
    while folder.exists() and work.read_run() is None:
        names = set(os.listdir(folder))
        if names <= UNSIGNED:
            return
        # Unless another process has just signed or removed it.
        removed = RUN_FILE in names and not os.path.lexists(folder / RUN_FILE)
        if not removed and work.read_run() is None:
            _refuse_folder(folder, folder / min(names - UNSIGNED), work.command)


def _refuse_folder(path: Path, found: Path, command: str) -> None:
    raise NunerError(Errors.N004, path=path, found=found, command=command)


def _check_folder(path: Path, command: str, *, damaged: bool) -> None:
    """Raise N004 if a folder has something in it that is not of the command."""
    if path.exists() and (found := _find_foreign(path, command, damaged=damaged)):
        _refuse_folder(path, path / found, command)


def _find_foreign(path: Path, command: str, *, damaged: bool = False) -> str | None:
    files = _read_manifest(path / MANIFEST, command)
    names = [name for name in _list_files(path) if name != MANIFEST]
    for name in names:
        size = files.get(name)
        if size is None or not (damaged or _has_size(path / name, size)):
            return name
    return MANIFEST if not files and os.path.lexists(path / MANIFEST) else None


def _check_files(path: Path, names: Iterable[str], command: str) -> None:
    """Raise N110 if one of the files is there and not of the command.

    What lies beside the output, such as a report, may be of another output of the
    command that shares its name.
    """
    own = _read_manifest(path.with_name(_name_manifest(path)), command)
    for name in names:
        one = path.with_name(name)
        if not os.path.lexists(one) or _has_size(one, own.get(name)):
            continue
        others = path.parent.glob(f".*{MANIFEST}") if name != path.name else ()
        # Not if it is an output by itself.
        lists = (x for x in others if x.name != _name_manifest(one))
        if not any(_has_size(one, _read_manifest(x, command).get(name)) for x in lists):
            raise NunerError(Errors.N110, path=one, command=command)


def find_made(folder: Path) -> set[str]:
    """List what commands of this package have made in a folder, by their manifests.

    folder (Path): The folder.
    RETURNS (set[str]): The names, those of the manifests among them.
    """
    made: set[str] = set()
    for path in folder.glob(f"*{MANIFEST}"):
        if path.name.startswith("."):
            made |= {path.name, *_read_manifest(path)}
    return made


def _has_size(path: Path, size: int | None) -> bool:
    if path.is_symlink() or not path.exists():
        return False
    return path.is_dir() or path.stat().st_size == size


def _name_manifest(path: Path) -> str:
    return f".{path.name}{MANIFEST}"


def _read_manifest(path: Path, command: str | None = None) -> dict[str, int]:
    """Read name -> size of the files that a command made; none if it was another.

    Nor if it names what is no file of its folder: then somebody else wrote it.
    """
    manifest = _read_json(path) or {}
    files = manifest.get("files")
    if not isinstance(files, dict) or command not in (None, manifest.get("command")):
        return {}
    inside = all(
        name and not os.path.isabs(name) and ".." not in Path(name).parts
        for name in files
    )
    return files if inside else {}


def _read_json(path: Path) -> dict[str, Any] | None:
    if path.is_symlink() or not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf8"))
    except (ValueError, RecursionError, FileNotFoundError):
        return None
    return data if isinstance(data, dict) else None


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf8")


def _list_files(folder: Path) -> Iterator[str]:
    """List what is in a folder: files, links and, with a slash, empty folders."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            yield entry.name
            continue
        below = [f"{entry.name}/{name}" for name in _list_files(Path(entry.path))]
        yield from below or [f"{entry.name}/"]


def _list_sizes(folder: Path) -> dict[str, int]:
    return {
        name: 0 if name.endswith("/") else (folder / name).stat().st_size
        for name in _list_files(folder)
        if name != MANIFEST
    }


def _put_folder(work: Work) -> None:
    """Put a complete folder in the place of the earlier one."""
    fresh, old = work.done / work.path.name, work.folder / "old"
    if not work.path.exists():
        fresh.rename(work.path)
    elif not _exchange(fresh, work.path):
        work.path.rename(old)
        fresh.rename(work.path)


def _put_files(work: Work) -> None:
    """Move complete files to their names, the manifest last; can be done again."""
    name = _name_manifest(work.path)
    manifest = work.path.with_name(name)
    if not (work.done / name).exists():
        return
    written = _read_manifest(work.done / name)
    before = _read_manifest(manifest, work.command)
    # No other name is that of a file of the command, whatever a list says.
    for one in work.names:
        path = work.path.with_name(one)
        if one in written and (work.done / one).exists():
            (work.done / one).replace(path)
        elif one not in written and _has_size(path, before.get(one)):
            path.unlink()
    (work.done / name).replace(manifest)
    _remove_empty(work.folder)


def _complete(work: Work, *, overwrite: bool = False) -> None:
    """Put in place what a run that was killed had completed."""
    fresh, old = work.done / work.path.name, work.folder / "old"
    manifest = _name_manifest(work.path)
    if (work.done / manifest).exists():
        names = [name for name in _list_files(work.done) if name != manifest]
        if not overwrite:
            _check_files(work.path, names, work.command)
        _put_files(work)
    for one in (fresh, old):
        files = _read_manifest(one / MANIFEST)
        # Else it is an earlier folder that is being removed.
        is_whole = files and all(_has_size(one / name, files[name]) for name in files)
        # The first run with this output, or between two renames.
        if is_whole and not work.path.exists():
            one.rename(work.path)
    run = work.read_run() or {}
    if fresh.exists() and run.get("whole") == fresh.stat().st_ino:
        # The run ended just before the two were exchanged.
        _check_folder(work.path, run["command"], damaged=False)
        _put_folder(work)
    _discard(work)


def _discard(work: Work, *, damaged: bool = False) -> None:
    """Remove an earlier folder; what is not on its list stays in the work folder."""
    for folder in (work.done / work.path.name, work.folder / "old"):
        files = _read_manifest(folder / MANIFEST)
        # What is there, and on the list: a list can name anything.
        for name in list(_list_files(folder)):
            one = folder / name
            known = name in files and (damaged or _has_size(one, files[name]))
            if known and name[-1] != "/":
                one.unlink()
        if all(name == MANIFEST or name[-1] == "/" for name in _list_files(folder)):
            (folder / MANIFEST).unlink(missing_ok=True)
    _remove_empty(work.folder)


def _remove_empty(folder: Path) -> None:
    """Remove folders in a folder that have no file in them."""
    for parent, _, _ in os.walk(folder, topdown=False):
        if Path(parent) != folder:
            with contextlib.suppress(OSError):
                os.rmdir(parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders at once, where the system can."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if not rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))
