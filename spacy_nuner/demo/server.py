"""Streamlit as a process of its own, for the page of the demo."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import Errors, NunerError

# Nobody but who sits at this machine.
HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("app_page.py")
SETTINGS = {
    "server.address": HOST,
    # A page of another name that leads here is refused.
    "server.allowedHosts": HOST,
    # No browser is opened and no address of an e-mail asked for.
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    # They search the web for an error.
    "client.showErrorLinks": "false",
    "logger.hideWelcomeMessage": "true",
    "logger.level": "warning",
}
# Between two looks whether it is there, and how long it may take to end, in seconds.
PAUSE = 0.1
PATIENCE = 10.0


def check_port(port: int) -> None:
    """Refuse a port that can't be listened on.

    port (int): The port.
    RAISES (NunerError): N692 if another process has it, or the system keeps it.
    """
    with socket.socket() as tried, socket.socket() as other:
        if os.name == "posix":
            # Where the last demo has just ended, its connections are still closing.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            other.bind((HOST, 0))
            free = other.getsockname()[1]
            raise NunerError(
                Errors.N692, port=port, host=HOST, reason=error.strerror, free=free
            ) from error


def serve(
    source: str,
    *,
    pipe_name: str | None,
    lang: str,
    port: int,
    on_ready: Callable[[str], None],
) -> None:
    """Serve the page until Ctrl-C.

    source (str): A pipeline or a backbone, as `SpanFinder.load` takes it; so for
        `pipe_name` and `lang`.
    port (int): The port of this machine to listen on.
    on_ready (Callable[[str], None]): Is given the address, when the page is there.
    RAISES (NunerError): N692 as `check_port`, N693 if the server ends by itself.
    """
    check_port(port)
    settings = [f"--{key}={value}" for key, value in SETTINGS.items()]
    command = [sys.executable, "-m", "streamlit", "run", str(PAGE), *settings]
    command += [f"--server.port={port}", "--", source, pipe_name or "", lang]
    # What it prints is of interest only if it is about errors.
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while server.poll() is None and not _is_ready(port):
            time.sleep(PAUSE)
        if server.poll() is None:
            on_ready(f"http://{HOST}:{port}")
        server.wait()
    except KeyboardInterrupt:
        return
    finally:
        _end(server)
    raise NunerError(Errors.N693, code=server.returncode, command=" ".join(command))


def _is_ready(port: int) -> bool:
    asked = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        asked.request("GET", "/_stcore/health")
        return asked.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server, if it has not ended; on a terminal Ctrl-C has told it, too."""
    server.terminate()
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
