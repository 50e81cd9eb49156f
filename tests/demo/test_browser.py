"""`spacy nuner demo` as people use it: the command, the page in Chromium, Ctrl-C."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_nuner.cli.app import app

from ..browser import needs_chromium, open_browser
from .conftest import TEXT

pytestmark = pytest.mark.slow

pytest.importorskip("streamlit")

# Milliseconds until a cell is tried again.
PATIENCE = 10_000
HOST = "127.0.0.1"
SCRIPT = "<script>window.hacked = 1</script>"
IMAGE = "<img src=http://example.com/x.png onerror='window.hacked = 1'>"
# Python imports it first; it writes down whom a process talks to, or wants to.
SITE = """
import os, sys

def watch(event, args):
    if event == "socket.connect":
        host = args[1][0] if isinstance(args[1], tuple) else ""
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    with open({log!r}, "a") as file:
        file.write(f"{{host}}\\n")

sys.addaudithook(watch)
"""


def get_free_port():
    with socket.socket() as asked:
        asked.bind((HOST, 0))
        return asked.getsockname()[1]


class Demo:
    """The command in a process of its own."""

    def __init__(self, source, folder):
        self.port, self.log = get_free_port(), folder / "hosts.txt"
        (folder / "site").mkdir()
        code = SITE.format(log=str(self.log))
        (folder / "site" / "sitecustomize.py").write_text(code)
        command = ["-m", "spacy", "nuner", "demo", str(source)]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--port", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(folder / "site"),
                "PYTHONUNBUFFERED": "1",
            },
            # Where tests run in the background, Ctrl-C is ignored by all they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.lines = []
        self.address = f"http://{HOST}:{self.port}"
        for line in self.process.stdout:
            self.lines.append(line)
            if self.address in line:
                break
        # So that it never waits for a reader.
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        self.lines.extend(self.process.stdout)

    def end(self, number=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self.reader.join()
        return code, "".join(self.lines)

    @property
    def is_served(self):
        with socket.socket() as asked:
            return asked.connect_ex((HOST, self.port)) == 0


@pytest.fixture
def start(tmp_path):
    demos = []

    def start_it(source):
        demos.append(Demo(source, tmp_path))
        return demos[-1]

    yield start_it
    for demo in demos:
        demo.end(signal.SIGTERM)


class Visitor:
    """Somebody at the page."""

    def __init__(self, page, address):
        from playwright.sync_api import Error

        self.page, self.asked, self.problems = page, [], []
        self.error = Error
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda opened: self.asked.append(opened.url))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        page.goto(address)

    def wait_for(self, condition):
        """Until an expression of JavaScript is true: `spans` is what is drawn; and then
        until what comes below it, as the button to download, is of the same run.
        """
        self.page.wait_for_function(
            f"""() => {{
            const drawn = document.querySelector(".spans");
            const labels = drawn === null ? [] :
              [...drawn.querySelectorAll(".label")].map(x => x.firstChild.data.trim());
            const tops = drawn === null ? [] :
              [...drawn.querySelectorAll(".label")].map(
                x => Math.round(x.getBoundingClientRect().top));
            return {condition};
            }}"""
        )
        self.page.wait_for_selector("[data-test-script-state='notRunning']")

    def type_text(self, text):
        area = self.page.get_by_label("Text", exact=True)
        area.fill(text)
        area.press("Control+Enter")

    def type_cell(self, row, column, text):
        """Rows of the table of concepts from 0, columns 0 and 1."""
        found = (
            f"document.getElementById('glide-cell-{column + 1}-{row}')?.textContent"
            f" === {json.dumps(text)}"
        )
        while not self.page.evaluate(found):
            # The field closes when the table is drawn anew after another change.
            self.page.wait_for_selector("[data-test-script-state='notRunning']")
            # The cells are painted. A row is 35 pixels high, the second column wider.
            canvas = self.page.get_by_test_id("data-grid-canvas").first.bounding_box()
            x = canvas["x"] + canvas["width"] * (0.25, 0.6)[column]
            self.page.mouse.click(x, canvas["y"] + 35 * (row + 1.5))
            self.page.keyboard.press("Enter")
            field = self.page.locator("#portal textarea")
            with contextlib.suppress(self.error):
                field.fill(text, timeout=PATIENCE)
                field.press("Enter", timeout=PATIENCE)
                self.page.wait_for_function(f"() => {found}", timeout=PATIENCE)

    def read_table(self):
        """What the table of spans tells who can't see it."""
        grid = self.page.get_by_test_id("stDataFrame").last
        rows = grid.locator("table tbody tr").all()
        return [[c.text_content() for c in row.locator("td").all()] for row in rows]

    def move_threshold(self, key):
        self.page.get_by_role("slider").first.press(key)


@pytest.fixture
def visit(tmp_path):
    with open_browser(tmp_path) as page:
        yield lambda address: Visitor(page, address)


@needs_chromium
def test_type_and_see_and_change_the_threshold(start, visit, backbone, tmp_path):
    demo = start(backbone)
    visitor = visit(demo.address)
    visitor.wait_for("drawn !== null")
    visitor.type_text(TEXT)
    visitor.type_cell(0, 0, "area")
    visitor.wait_for("labels.includes('area')")
    # One more below the last row.
    visitor.type_cell(3, 1, "what it costs")
    visitor.type_cell(3, 0, "price")
    visitor.wait_for("labels.includes('price')")
    # Spans of the same words lie one under another.
    visitor.wait_for("new Set(tops).size > 1")
    assert ["Leyton", "area"] in [row[:2] for row in visitor.read_table()]
    with visitor.page.expect_download() as downloaded:
        visitor.page.get_by_text("Download as JSON").click()
    path = tmp_path / "spans.json"
    downloaded.value.save_as(path)
    check_download(path, tmp_path)
    visitor.move_threshold("End")
    visitor.wait_for("drawn !== null && labels.length === 0")
    visitor.move_threshold("Home")
    visitor.wait_for("labels.length > 1")
    assert visitor.problems == []
    assert {urlsplit(url).hostname for url in visitor.asked} == {HOST}
    assert any(url.startswith("ws") for url in visitor.asked)
    code, printed = demo.end()
    assert code == 0 and "Traceback" not in printed and not demo.is_served
    # The command asks its server whether it is there, and nobody else.
    assert set(demo.log.read_text().split()) == {HOST}


def check_download(path: Path, folder: Path):
    content = json.loads(path.read_text(encoding="utf8"))
    assert content["text"] == TEXT
    assert {"label": "price", "description": "what it costs"} in content["labels"]
    (area,) = (row for row in content["spans"] if row["label"] == "area")
    assert TEXT[area["start"] : area["end"]] == area["text"] == "Leyton"
    assert 0.5 < area["score"] <= 1 and content["thresholds"]["area"] == 0.5
    # As a labelled set.
    output = folder / "spans.spacy"
    result = CliRunner().invoke(app, ["import", str(path), str(output)])
    assert result.exit_code == 0, result.output
    (doc,) = DocBin().from_disk(output).get_docs(spacy.blank("en").vocab)
    assert doc.text == TEXT
    imported = {
        (span.text, span.label_) for group in doc.spans.values() for span in group
    }
    assert imported == {(row["text"], row["label"]) for row in content["spans"]}


@pytest.mark.weekly
@needs_chromium
def test_texts_and_names_stay_texts(start, visit, backbone):
    visitor = visit(start(backbone).address)
    visitor.wait_for("drawn !== null")
    visitor.type_text(
        f"{TEXT} {SCRIPT} {IMAGE} 🏠 **b** ![x](http://example.com/y.png)"
    )
    visitor.type_cell(0, 0, SCRIPT)
    visitor.type_cell(1, 0, IMAGE)
    visitor.type_cell(2, 0, "🏠 שלום")
    visitor.move_threshold("Home")
    visitor.wait_for("labels.includes('🏠 שלום')")
    visitor.wait_for(f"labels.includes({json.dumps(SCRIPT)})")
    visitor.wait_for(f"labels.includes({json.dumps(IMAGE)})")
    # That of the text.
    visitor.wait_for("drawn.textContent.includes('y.png')")
    assert visitor.page.evaluate("window.hacked") is None
    assert visitor.page.locator(".spans script, .spans img").count() == 0
    assert {urlsplit(url).hostname for url in visitor.asked} == {HOST}
    # From right to left, if the text begins so.
    visitor.type_text("שלום Leyton עולם")
    visitor.wait_for("drawn !== null && getComputedStyle(drawn).direction === 'rtl'")
    assert visitor.problems == []


@pytest.mark.weekly
def test_the_server_ends_with_the_command(start, pipelines):
    demo = start(pipelines / "spacy")
    assert demo.is_served
    code, printed = demo.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM and "Traceback" not in printed
    assert not demo.is_served


@pytest.mark.weekly
def test_a_server_that_ends_by_itself_is_an_error(start, pipelines):
    demo = start(pipelines / "spacy")
    (server,) = find_children(demo.process.pid)
    os.kill(server, signal.SIGKILL)
    code, printed = demo.end(0)
    assert code == 1 and "[N693]" in printed and "exit code -9" in printed


def find_children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("no list of processes in /proc")
    return [int(child) for child in listed.read_text().split()]


def run(*args):
    return CliRunner().invoke(app, ["demo", *map(str, args)])


def test_a_port_that_is_taken(pipelines):
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        result = run(pipelines / "spacy", "--port", port)
    assert result.exit_code == 1 and "[N692]" in result.output
    assert f"port {port} of {HOST}" in result.output
    assert "--port " in result.output.partition("free: ")[2]


def test_what_can_not_be_loaded_is_told_before_anything_is_served(
    pipelines, tmp_path, monkeypatch
):
    monkeypatch.setattr(subprocess, "Popen", None)
    port = get_free_port()
    for source, number in [("bare", "N691"), ("none", "N001")]:
        result = run(pipelines / source, "--port", port)
        assert result.exit_code == 1 and f"[{number}]" in result.output
    # The default, where it is not built.
    monkeypatch.setenv("SPACY_NUNER_HOME", str(tmp_path))
    result = run("--port", port)
    assert result.exit_code == 1 and "[N012]" in result.output


def test_without_streamlit(pipelines, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run(pipelines / "spacy")
    assert result.exit_code == 1 and "[N006]" in result.output
    assert "spacy-nuner[demo]" in result.output
