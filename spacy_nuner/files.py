"""Files: their hashes, those that are written whole, and those that ship with us."""

import hashlib
import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent


def hash_file(path: Path) -> str:
    """Take the SHA-256 of a file.

    path (Path): The file.
    RETURNS (str): In hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: Path) -> str:
    """Take the SHA-256 of all files of a folder and their names, but compiled code.

    folder (Path): The folder.
    RETURNS (str): In hexadecimal.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            inside = os.fsencode(path.relative_to(folder).as_posix())
            digest.update(inside + b"\0" + hash_file(path).encode())
    return digest.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file of results that is whole at any time.

    path (Path): The file; its folder is made. What a killed run leaves beside it, the
        next one writes over.
    text (str): Its content, without the last line end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(f"{text}\n", encoding="utf8")
    temporary.replace(path)


def write_synced(path: Path, data: bytes, folder: Path) -> None:
    """Write a file of a part, whole or not at all, and onto the disk.

    path (Path): The file.
    data (bytes): Its content.
    folder (Path): Where it is written before it gets its name, and where a process that
        is killed may leave it: not where files stand for parts.
    """
    temporary = folder / f"{path.name}.{os.getpid()}"
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        # A name that stands for a part must not outlast its content.
        os.fsync(file.fileno())
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder onto the disk, where the system can.

    folder (Path): The folder.
    """
    if sys.platform == "win32":
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def find_shipped(name: str) -> Path:
    """Find a file or folder that ships with the package.

    name (str): Its path in the repository, such as "configs/ner.cfg".
    RETURNS (Path): In the package, where a wheel has it, or in the checkout of an
        editable installation.
    """
    inside = PACKAGE / name
    return inside if inside.exists() else PACKAGE.parent / name
