"""Hashes of files, and files that ship with the package."""

import hashlib
from pathlib import Path

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
