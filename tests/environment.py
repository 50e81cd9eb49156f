"""Environments in which a wheel is installed, as a user has them."""

import os
import subprocess
import sys
from pathlib import Path

import torch


def run(*command, cwd=None, **environment):
    """Run a command and return what it prints."""
    out = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    assert out.returncode == 0, out.stdout + out.stderr
    return out.stdout


def make_environment(folder: Path) -> Path:
    """A virtual environment that sees the packages that stand here, and no more."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    purelib = Path(torch.__file__).parents[1]
    site = next((folder / "lib").glob("python*/site-packages"))
    # Not the bare path: files *.pth in there, of editable installs, count too.
    line = f"import site; site.addsitedir({str(purelib)!r})\n"
    (site / "packages.pth").write_text(line)
    return folder / "bin" / "python"
