"""Chromium without a window, for the pages that the package makes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--window-size=1100,900",
    # No name is looked up: whatever a page asks for elsewhere fails.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# Chromium puts a socket there, and a socket's path has to be short.
TEMPORARY = "/tmp"
# Milliseconds until a test gives up; a busy machine takes its time.
TIMEOUT = 300_000

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not there")


def browse(path: Path) -> tuple[str, list[str]]:
    """Open a page and let its scripts run.

    path (Path): The page; a profile is made beside it.
    RETURNS (tuple[str, list[str]]): The page as it is in the end, and what the console
        said.
    """
    profile = f"--user-data-dir={path.parent / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, profile, "--dump-dom", path.as_uri()],
        capture_output=True,
        timeout=120,
        env={**os.environ, "TMPDIR": TEMPORARY},
    )
    said = done.stderr.decode(errors="replace").splitlines()
    return done.stdout.decode(), [line for line in said if ":CONSOLE" in line]


@contextmanager
def open_browser(folder: Path) -> Iterator[Any]:
    """Start a browser that a test can type and click in.

    folder (Path): For its profile and what it downloads.
    YIELDS (playwright.sync_api.Page): An empty page of 1,400 by 1,000 pixels.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=CHROMIUM,
            args=[flag for flag in FLAGS if not flag.startswith("--window-size")],
            downloads_path=folder / "downloads",
            viewport={"width": 1400, "height": 1000},
            env={**os.environ, "TMPDIR": TEMPORARY},
        )
        context.set_default_timeout(TIMEOUT)
        context.set_default_navigation_timeout(TIMEOUT)
        try:
            yield context.pages[0]
        finally:
            context.close()
