"""A picture of a page, taken by a browser without a window."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..errors import Errors, NunerError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH = 908
MEASURE = "<script>document.title = document.body.offsetHeight</script></body>"


def take_picture(page: Path, picture: Path) -> None:
    """Draw a page into a file, as high as the page is.

    page (Path): The page.
    picture (Path): Where the PNG goes; two pixels for one of the page.
    RAISES (NunerError): N508 if there is no browser, N509 if it fails.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise NunerError(Errors.N508, names=", ".join(BROWSERS))
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "page.html"
        text = page.read_text(encoding="utf8").replace("</body>", MEASURE)
        measured.write_text(text, encoding="utf8")
        size = f"--window-size={WIDTH},"
        shown = _run(found, measured, folder, "--dump-dom", f"{size}1000")
        height = re.search(r"<title>(\d+)</title>", shown)
        if height is None:
            raise NunerError(Errors.N509, path=page, browser=found, reason="no height")
        _run(
            found,
            page,
            folder,
            f"--screenshot={picture.resolve()}",
            f"{size}{height[1]}",
            "--force-device-scale-factor=2",
        )
    if not picture.is_file():
        raise NunerError(Errors.N509, path=page, browser=found, reason="no file")


def _run(browser: str, page: Path, profile: str, *options: str) -> str:
    # Without a sandbox: it needs rights that containers lack, and the page is ours.
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--hide-scrollbars", f"--user-data-dir={profile}/profile", *options]
    try:
        out = subprocess.run(
            [*command, page.resolve().as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NunerError(
            Errors.N509, path=page, browser=browser, reason=error
        ) from error
    return out.stdout
