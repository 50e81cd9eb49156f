"""Outputs are whole or not there, whatever ends a run, and nobody's files are lost."""

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from spacy_nuner import outputs
from spacy_nuner.errors import NunerError
from spacy_nuner.outputs import check_output, claimed, write_files, write_folder

from .conftest import weekly

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and kills")

LEFTOVERS = r"part|new/.*"
OLD = {"a": "old", "b/c": "old old", "b/gone": "old"}
NEW = {"a": "new", "b/c": "newer", "b/d/e": "new"}
# What a user may keep near an output.
MINE = {
    "notes.txt": "mine",
    ".git/HEAD": "mine",
    "out2/a": "mine",
    ".out.killed/a": "mine",
    "x.draw.json.bak": "mine",
}


def fill(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read_tree(folder):
    """All files with their contents, links with their targets, empty folders."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in [*files, *folders]:
            path = os.path.join(parent, name)
            key = os.path.relpath(path, folder)
            if os.path.islink(path):
                found[key] = ("link", os.readlink(path))
            elif name in files:
                with open(path, "rb") as file:
                    found[key] = file.read().decode(errors="replace")
            elif not os.listdir(path):
                found[key] = None
    return found


def write_new(tmp_path, kind, files, *, stop=False):
    """A run of each kind of command: a folder, one that can be resumed, two files."""
    if kind == "files":
        names = [tmp_path / "x.spacy", tmp_path / "x.draw.json", tmp_path / "x.lost"]
        with write_files(names, command="draw") as folder:
            fill(folder, {f"x.{key}": text for key, text in files.items()})
            if stop:
                raise InterruptedError
        return
    leftovers = LEFTOVERS if kind == "resumable" else None
    path = tmp_path / "out"
    with write_folder(path, command="convert", leftovers=leftovers) as work:
        if leftovers:
            work.begin(files["a"])
            (work.folder / "part").write_text("half")
        fill(work.target, files)
        if stop:
            raise InterruptedError


VERSIONS = {
    "folder": (OLD, NEW),
    "resumable": (OLD, NEW),
    "files": (
        {"spacy": "old", "draw.json": "old old", "lost": "old"},
        {"spacy": "new", "draw.json": "newer"},
    ),
}


def run_child(function, count):
    """Run a function in a process that dies at its n-th operation on files."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = count

    def strike(event, args=()):
        nonlocal left
        writes = event == "open" and isinstance(args[2], int) and args[2] & 3
        if writes or event.startswith(("os.r", "os.mk", "test.")):
            left -= 1
            if left < 0:
                os._exit(99)

    try:
        exchange = outputs._exchange

        def exchange_and_strike(*names):
            strike("test.before")
            done = exchange(*names)
            strike("test.after")
            return done

        outputs._exchange = exchange_and_strike
        sys.addaudithook(strike)
        function()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def only(tree, kind):
    """What belongs to the output of a kind."""
    if kind == "files":
        return {key[2:]: text for key, text in tree.items() if key[:2] == "x."}
    found = {key[4:]: text for key, text in tree.items() if key.startswith("out/")}
    found.pop(outputs.MANIFEST, None)
    return found


@pytest.mark.parametrize(
    ("kind", "first", "exchanged"),
    [
        pytest.param(*case, marks=[pytest.mark.weekly] if number % 5 else [])
        for number, case in enumerate(product(VERSIONS, (True, False), (True, False)))
    ],
)
def test_killed_at_any_operation(tmp_path, monkeypatch, kind, first, exchanged):
    if not exchanged:
        # As on other systems than Linux.
        monkeypatch.setattr(outputs, "_exchange", lambda *names: False)
    old, new = VERSIONS[kind]
    expected = ({} if first else old, new)
    mine = {key: text for key, text in MINE.items() if key != "x.draw.json.bak"}
    for count in range(200):
        home = tmp_path / str(count)
        fill(home, mine)
        before = read_tree(home)
        if not first:
            write_new(home, kind, old)
        code = run_child(lambda home=home: write_new(home, kind, new), count)
        found = only(read_tree(home), kind)
        if kind != "files" and exchanged:
            assert found in expected, count
        assert code in (0, 99)
        done = [one for one in home.glob("*.work/done/**/*") if one.is_file()]
        whole = any(one.read_text() in new.values() for one in done)
        # Whatever it was, a run that comes to nothing makes it whole.
        with pytest.raises(InterruptedError):
            write_new(home, kind, new, stop=True)
        assert only(read_tree(home), kind) in expected, count
        # What was complete is not thrown away.
        assert not whole or only(read_tree(home), kind) == new, count
        write_new(home, kind, new)
        tree = read_tree(home)
        assert only(tree, kind) == new
        own = {"out/.spacy_nuner.json", ".x.spacy.spacy_nuner.json"}
        own |= {f"out/{key}" for key in new} | {f"x.{key}" for key in new}
        # Nothing of the dead run is left, and all else is as it was.
        assert {k: v for k, v in tree.items() if k not in own} == before
        shutil.rmtree(home)
        if code == 0:
            break
    assert code == 0 and count > 10


def make_random_tree(folder, seed):
    """Files, hidden ones, folders, links out of the folder and links to nothing."""
    draw = random.Random(seed)
    outside = folder.parent / "outside"
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "kept").write_text("mine")
    folder.mkdir(parents=True, exist_ok=True)
    names = ["notes.txt", ".git", "a", "b", "report.json", "stats.json", "nuner.json"]
    names += ["run.json", "calibration.json", outputs.MANIFEST, "é x", "\udcff", "new"]
    at = folder
    for _ in range(draw.randint(1, 4)):
        path = at / draw.choice(names)
        if os.path.lexists(path):
            continue
        kind = draw.choice(["file", "file", "folder", "link", "dangling", "empty"])
        if kind == "file":
            path.write_text(draw.choice(["mine", "{}", '{"files": {}}', ""]))
        elif kind == "link":
            path.symlink_to(outside)
        elif kind == "dangling":
            path.symlink_to("nowhere")
        else:
            path.mkdir()
            if kind == "folder":
                (path / "kept").write_text("mine")
                at = path


@pytest.mark.parametrize("seed", [*range(30), *weekly(*range(30, 150))])
@pytest.mark.parametrize("kind", ["folder", "resumable"])
def test_a_folder_with_anything_of_the_users_is_left_alone(tmp_path, kind, seed):
    home = tmp_path / "home"
    draw = random.Random(seed)
    where = draw.choice(["fresh", "in an earlier output", "work"])
    if where == "in an earlier output":
        write_new(home, kind, OLD)
    name = "out"
    if where == "work":
        name = "out.work" if kind == "resumable" else ".out.work"
    make_random_tree(home / name, seed)
    before = read_tree(tmp_path)
    if not os.listdir(home / name):
        pytest.skip("nothing was drawn")
    with pytest.raises(NunerError, match="N004"):
        write_new(home, kind, NEW)
    assert read_tree(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda out: (out / "notes.txt").write_text("mine"),
        lambda out: (out / ".hidden").mkdir(),
        lambda out: (out / "b" / "c").write_text("changed by hand"),
        lambda out: (out / "a").unlink() or (out / "a").symlink_to("b/c"),
        lambda out: (out / "a").unlink() or (out / "a").mkdir(),
        lambda out: (out / outputs.MANIFEST).unlink(),
        lambda out: (out / outputs.MANIFEST).write_text("[[]]"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "resumable"])
def test_an_earlier_output_that_was_changed(tmp_path, kind, change):
    write_new(tmp_path, kind, OLD)
    change(tmp_path / "out")
    before = read_tree(tmp_path)
    with pytest.raises(NunerError, match="N004"):
        write_new(tmp_path, kind, NEW)
    assert read_tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["folder", "resumable"])
def test_what_comes_while_it_is_written_stays(tmp_path, kind):
    write_new(tmp_path, kind, OLD)

    def write(note):
        leftovers = LEFTOVERS if kind == "resumable" else None
        path = tmp_path / "out"
        with write_folder(path, command="convert", leftovers=leftovers) as work:
            if leftovers:
                work.begin("new")
            fill(work.target, NEW)
            note(work).write_text("mine")

    with pytest.raises(NunerError, match=r"N004.*notes\.txt"):
        write(lambda work: work.path / "notes.txt")
    assert only(read_tree(tmp_path), kind) == {**OLD, "notes.txt": "mine"}
    (tmp_path / "out" / "notes.txt").unlink()
    # In the work folder it is no reason to lose what is complete.
    write(lambda work: work.folder / "notes.txt")
    assert only(read_tree(tmp_path), kind) == NEW
    (note,) = (
        tmp_path.glob("*/notes.txt")
        if kind != "folder"
        else tmp_path.glob(".*/notes.txt")
    )
    assert note.read_text() == "mine"
    with pytest.raises(NunerError, match=r"N004.*notes\.txt"):
        write_new(tmp_path, kind, NEW)


@pytest.mark.parametrize("name", ["../thesis.txt", "../../../thesis.txt", "absolute"])
@pytest.mark.parametrize("kind", VERSIONS)
def test_a_list_that_names_other_files(tmp_path, kind, name):
    """A folder that was copied or sent by somebody has their list in it."""
    (tmp_path / "here").mkdir()
    write_new(tmp_path / "here", kind, VERSIONS[kind][0])
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("mine")
    notes = tmp_path / "here" / "notes.txt"
    notes.write_text("mine")
    name = str(thesis) if name == "absolute" else name
    (path,) = (tmp_path / "here").rglob(f"*{outputs.MANIFEST}")
    manifest = json.loads(path.read_text("utf8"))
    manifest["files"] |= {name: 4}
    if kind == "files":
        manifest["files"] |= {"notes.txt": 4}
    path.write_text(json.dumps(manifest))
    with contextlib.suppress(NunerError):
        write_new(tmp_path / "here", kind, VERSIONS[kind][1])
    assert thesis.read_text() == notes.read_text() == "mine"


def test_a_list_of_files_that_names_another(tmp_path):
    write_new(tmp_path, "files", VERSIONS["files"][0])
    (tmp_path / "notes.txt").write_text("mine")
    path = tmp_path / f".x.spacy{outputs.MANIFEST}"
    manifest = json.loads(path.read_text("utf8"))
    path.write_text(
        json.dumps({**manifest, "files": {**manifest["files"], "notes.txt": 4}})
    )
    write_new(tmp_path, "files", VERSIONS["files"][1])
    tree = read_tree(tmp_path)
    assert tree["notes.txt"] == "mine" and tree["x.spacy"] == "new"
    assert "x.lost" not in tree


def test_another_command_replaces_nothing(tmp_path):
    write_new(tmp_path, "folder", OLD)
    with (
        pytest.raises(NunerError, match="N004"),
        write_folder(tmp_path / "out", command="stats"),
    ):
        pass
    assert only(read_tree(tmp_path), "folder") == OLD


def test_what_another_command_can_go_on_with_stays(tmp_path):
    parts = r"new/.*|parts/\d{6}\.json"
    with (
        pytest.raises(KeyboardInterrupt),
        write_folder(tmp_path / "out", command="apply", leftovers=parts) as work,
    ):
        work.begin("one")
        fill(work.target, OLD)
        raise KeyboardInterrupt
    before = read_tree(tmp_path)
    with (
        pytest.raises(NunerError, match="N004.*out.work.*'convert'"),
        write_folder(tmp_path / "out", command="convert", leftovers=LEFTOVERS),
    ):
        pass
    assert read_tree(tmp_path) == before


def test_files_of_the_users_are_replaced_only_if_asked(tmp_path):
    names = [tmp_path / "x.spacy", tmp_path / "x.draw.json"]
    for name in names:
        name.write_text("mine")
        with (
            pytest.raises(NunerError, match=f"N110.*{name.name}.*--overwrite"),
            write_files(names, command="draw"),
        ):
            pass
        assert read_tree(tmp_path) == {name.name: "mine"}
        name.unlink()
    names[1].symlink_to("elsewhere")
    (tmp_path / "elsewhere").write_text("mine")
    with (
        pytest.raises(NunerError, match="N032.*link"),
        write_files(names, command="draw", overwrite=True),
    ):
        pass
    names[1].unlink()
    for name in names:
        name.write_text("mine")
    with write_files(names, command="draw", overwrite=True) as folder:
        fill(folder, {"x.spacy": "new", "x.draw.json": "new"})
    assert (tmp_path / "elsewhere").read_text() == "mine"
    # Now they are its own, until they are changed.
    with write_files(names, command="draw") as folder:
        fill(folder, {"x.spacy": "newer"})
    assert not names[1].exists()
    names[0].write_text("changed")
    with pytest.raises(NunerError, match="N110"), write_files(names, command="draw"):
        pass
    assert names[0].read_text() == "changed"


def test_a_file_that_came_after_a_run_was_killed_is_not_replaced(tmp_path):
    old, new = VERSIONS["files"]
    write_new(tmp_path, "files", old)
    for count in range(100):
        code = run_child(lambda: write_new(tmp_path, "files", new), count)
        if (tmp_path / ".x.spacy.work" / "done" / "x.draw.json").exists():
            break
        assert code == 99
    (tmp_path / "x.draw.json").write_text("written by hand")
    with pytest.raises(NunerError, match=r"N110.*x\.draw\.json"):
        write_new(tmp_path, "files", new)
    assert (tmp_path / "x.draw.json").read_text() == "written by hand"


LINKED = ("x/../data", "LINK", "data/", "./data", "data/../data")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with an input folder `data`, a link to it, and a folder around it."""
    fill(tmp_path, {"around/data/train.jsonl": "{}", "around/file": "{}"})
    monkeypatch.chdir(tmp_path / "around")
    (tmp_path / "around" / "x").mkdir()
    (tmp_path / "around" / "LINK").symlink_to("data")
    (tmp_path / "link").symlink_to("around")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "relation"),
    [
        *((name, "is") for name in LINKED),
        *((f"{name}/out", "lies in") for name in LINKED),
        ("data/out/deep", "lies in"),
        ("../link/data", "is"),
        ("../around", "has in it"),
        ("../link", "has in it"),
        ("..", "has in it"),
        (".", "has in it"),
        ("", "has in it"),
        ("/", "has in it"),
    ],
)
@pytest.mark.parametrize("given", ["data", "LINK", "{home}/around/data"])
def test_an_output_that_is_in_the_way_of_an_input(home, output, relation, given):
    given = given.format(home=home)
    with pytest.raises(NunerError) as caught:
        check_output(output, inputs=["hub:none", given], folder=True)
    assert caught.value.code == "N030" and relation in str(caught.value)
    assert check_output("data2", inputs=[given], folder=True).name == "data2"


def test_an_output_that_is_an_input_file(home):
    for name in ("file", "./file", "x/../file", home / "link" / "file"):
        with pytest.raises(NunerError, match="N030.*is"):
            check_output(name, inputs=["file"])
    os.link("file", "hard")
    with pytest.raises(NunerError, match="N030"):
        check_output("hard", inputs=["file"])


@pytest.mark.parametrize("name", ["file", "dangling", "dangling/a", "pipe", "long"])
@pytest.mark.parametrize("kind", ["folder", "files"])
def test_what_can_not_be_an_output(home, kind, name):
    os.symlink("nowhere", "dangling")
    os.symlink("circle", "circle")
    if name == "pipe":
        os.mkfifo("pipe")
    paths = {"long": "n" * 300, "file": "file" if kind == "folder" else "data"}
    path = paths.get(name, name)
    before = read_tree(home) if name != "pipe" else None
    with pytest.raises(NunerError, match="N003|N032"):
        if kind == "folder":
            with write_folder(path, command="stats") as work:
                fill(work.target, NEW)
        else:
            with write_files([path], command="draw") as folder:
                fill(folder, {name: "new"})
    assert before is None or read_tree(home) == before


@pytest.mark.parametrize("path", [".", "", "..", "../around", "/", "../link"])
def test_the_folder_that_one_is_in_is_not_replaced(home, path):
    with (
        pytest.raises(NunerError, match="N032"),
        write_folder(path, command="stats"),
    ):
        pass
    os.chdir("x")
    with pytest.raises(NunerError, match="N032"), write_folder(".", command="stats"):
        pass


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/null", "circle", "a\0b", "."])
def test_what_can_not_be_a_file(home, path):
    os.symlink("circle", "circle")
    with (
        pytest.raises(NunerError, match="N003|N032"),
        write_files([path], command="draw", overwrite=True),
    ):
        pass


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no such file system")
def test_a_file_system_that_takes_no_folders():
    with (
        pytest.raises(NunerError, match="N003"),
        write_folder("/proc/self/x", command="x"),
    ):
        pass


def test_a_link_to_a_folder_is_followed(home):
    fill(home / "real", {})
    (home / "real").mkdir()
    (home / "out").symlink_to("real")
    for files in (OLD, NEW):
        write_new(home, "folder", files)
    assert (home / "out").is_symlink()
    assert only(read_tree(home / "real" / ".."), "folder") == {}
    assert (home / "real" / "a").read_text() == "new"
    assert not (home / ".real.work").exists()


def test_names_up_to_what_the_system_takes(tmp_path):
    """Of 255 bytes at most; longer with what belongs to it, it is an error."""
    written = []
    for length in range(225, 257):
        name = "é" * (length // 2) + "n" * (length % 2)
        try:
            with write_folder(tmp_path / name, command="stats") as work:
                fill(work.target, NEW)
            with write_files([tmp_path / f"{name[1:]}x"], command="draw") as folder:
                (folder / f"{name[1:]}x").write_text("new")
            written.append(True)
        except NunerError as error:
            assert error.code == "N003"
            written.append(False)
        for path in list(tmp_path.iterdir()):
            assert not path.name.endswith(".work")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert written[0] and not written[-1]
    assert written == sorted(written, reverse=True)


@pytest.mark.parametrize("kind", VERSIONS)
def test_a_folder_that_can_not_be_written_to(tmp_path, kind, monkeypatch):
    fill(tmp_path, {"file": ""})
    with pytest.raises(NunerError, match="N003"):
        write_new(tmp_path / "file" / "deep", kind, VERSIONS[kind][0])

    def refused(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(args[0]))

    # The tests may run as root, whom nothing is refused.
    monkeypatch.setattr(os, "mkdir", refused)
    with pytest.raises(NunerError, match="N003.*Permission denied"):
        write_new(tmp_path, kind, VERSIONS[kind][0])
    assert read_tree(tmp_path) == {"file": ""}


@pytest.mark.parametrize(
    "room", [*range(0, 700, 35), *weekly(*set(range(0, 700, 7)) - {*range(0, 700, 35)})]
)
@pytest.mark.parametrize("kind", VERSIONS)
def test_a_full_disk(tmp_path, kind, room):
    """Every file is cut off after some bytes, as by a disk that is full."""
    old, new = VERSIONS[kind]
    write_new(tmp_path, kind, old)
    before = read_tree(tmp_path)

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            write_new(tmp_path, kind, new)
        except NunerError as error:
            os._exit(3 if error.code == "N003" else 4)

    code = run_child(write, 10_000)
    assert code in (0, 3)
    expected = only(before, kind) if code else new
    assert only(read_tree(tmp_path), kind) == expected
    write_new(tmp_path, kind, new)
    assert only(read_tree(tmp_path), kind) == new
    assert not list(tmp_path.glob("*.work")) + list(tmp_path.glob(".*.work"))


def test_an_error_of_a_library_in_rust_is_a_full_disk(tmp_path):
    reason = f"IoError(Os {{ code: 28, message: {os.strerror(errno.ENOSPC)!r} }})"
    with (
        pytest.raises(NunerError, match="N003.*No space left"),
        write_folder(tmp_path / "out", command="average"),
    ):
        raise RuntimeError(reason)
    with (
        pytest.raises(RuntimeError, match="^other$"),
        write_folder(tmp_path / "out", command="average"),
    ):
        raise RuntimeError("other")
    assert read_tree(tmp_path) == {}


def test_an_error_in_reading_stays_what_it_is(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        write_files([tmp_path / "deep" / "x"], command="draw"),
    ):
        (tmp_path / "input").read_text()
    assert read_tree(tmp_path) == {}


HOLDING = """
import sys, time
from pathlib import Path
from spacy_nuner.outputs import write_files, write_folder

kind, path = sys.argv[1], Path(sys.argv[2])
if kind == "files":
    context = write_files([path / "x.spacy", path / "x.draw.json"], command="draw")
else:
    leftovers = r"part|new/.*" if kind == "resumable" else None
    context = write_folder(path / "out", command="convert", leftovers=leftovers)
with context:
    print("begun", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold(tmp_path):
    """A process that writes an output until it is ended."""
    started = []

    def hold(kind):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDING, kind, tmp_path],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", VERSIONS)
def test_two_processes_with_one_output(tmp_path, hold, kind):
    old, new = VERSIONS[kind]
    write_new(tmp_path, kind, old)
    process = hold(kind)
    before = read_tree(tmp_path)
    with pytest.raises(NunerError) as caught:
        write_new(tmp_path, kind, new)
    assert caught.value.code == "N031"
    assert f"process {process.pid} " in str(caught.value)
    assert read_tree(tmp_path) == before
    # The lock of a dead process is none.
    process.kill()
    process.wait()
    write_new(tmp_path, kind, new)
    assert only(read_tree(tmp_path), kind) == new
    assert not list(tmp_path.glob("*.work")) + list(tmp_path.glob(".*.work"))


def test_the_same_process_twice(tmp_path):
    with claimed(tmp_path / "out", "draw"):
        with pytest.raises(NunerError, match=f"N031.*process {os.getpid()} "):
            write_new(tmp_path, "folder", NEW)
        # Other outputs in the same folder are none of its business.
        write_new(tmp_path, "files", VERSIONS["files"][1])
    write_new(tmp_path, "folder", NEW)


@pytest.mark.parametrize("kind", VERSIONS)
def test_many_processes_that_come_and_go(tmp_path, kind):
    """One writes at a time, and what is there is always of one of them."""
    children = []
    for number in range(8):
        pid = os.fork()
        if not pid:
            code = 0
            try:
                for _ in range(20):
                    files = {key: f"{number}" for key in VERSIONS[kind][1]}
                    try:
                        write_new(tmp_path, kind, files)
                    except NunerError as error:
                        if error.code != "N031":
                            raise
            except BaseException:
                traceback.print_exc()
                code = 1
            os._exit(int(code))
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [0] * 8
    found = only(read_tree(tmp_path), kind)
    assert set(found) == set(VERSIONS[kind][1]) and len(set(found.values())) == 1
    assert not list(tmp_path.glob("*.work")) + list(tmp_path.glob(".*.work"))


@pytest.mark.parametrize("exchanged", [True, False])
def test_what_can_not_be_put_in_place_is_not_lost(tmp_path, monkeypatch, exchanged):
    """An earlier folder of somebody else's can't be moved."""
    write_new(tmp_path, "resumable", OLD)

    def refuse(*names):
        if exchanged:
            raise PermissionError(errno.EACCES, "Permission denied")
        return False

    def write(*, expected):
        with write_folder(
            tmp_path / "out", command="convert", leftovers=LEFTOVERS
        ) as work:
            work.begin("a")
            assert os.path.exists(work.target / "a") == expected
            (work.target / "a").write_text("newest")

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "_exchange", refuse)
        if not exchanged:
            real = Path.rename

            def rename(path, target):
                if path.name == "out" and path.parent == tmp_path:
                    raise PermissionError(errno.EACCES, "Permission denied")
                return real(path, target)

            patch.setattr(Path, "rename", rename)
        with pytest.raises(PermissionError):
            write(expected=False)
        assert only(read_tree(tmp_path), "resumable") == OLD
    write(expected=True)
    assert (tmp_path / "out" / "a").read_text() == "newest"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(("run", "seen"), [("a", ["part"]), ("b", [])])
def test_the_same_run_goes_on_and_another_begins_anew(tmp_path, run, seen):
    def write(run, *, stop):
        with write_folder(
            tmp_path / "out", command="convert", leftovers=LEFTOVERS
        ) as work:
            work.begin(run)
            found = [name for name in ("part",) if (work.folder / name).exists()]
            (work.folder / "part").write_text("half")
            (work.target / "a").write_text("new")
            if stop:
                raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        write("a", stop=True)
    assert os.listdir(tmp_path) == ["out.work"]
    assert write(run, stop=False) == seen
    assert os.listdir(tmp_path) == ["out"]


def test_the_work_of_a_run_stays_where_another_is_refused(tmp_path):
    with pytest.raises(InterruptedError):
        write_new(tmp_path, "resumable", OLD, stop=True)
    before = read_tree(tmp_path / "out.work")
    with (
        pytest.raises(ValueError, match="first asks"),
        write_folder(tmp_path / "out", command="convert", leftovers=LEFTOVERS),
    ):
        raise ValueError("first asks")
    after = read_tree(tmp_path / "out.work")
    assert after == before and json.loads(after["run.json"])["run"] == OLD["a"]


WAITING = """
import sys, time
from pathlib import Path
from spacy_nuner.cli._util import handle_errors
from spacy_nuner.outputs import write_files

def command():
    with write_files([Path(sys.argv[1])], command="draw") as folder:
        (folder / "half").write_text("half")
        print("begun", flush=True)
        time.sleep(60)

handle_errors(command)()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_end_leaves_nothing_behind(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, tmp_path / "deep" / "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    assert len(read_tree(tmp_path)) == 3
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGTERM)
    assert read_tree(tmp_path) == {}


def interrupted(real, left, *names, **kwargs):
    real(*names, **kwargs)
    left[0] -= 1
    if left[0] == -1:
        raise KeyboardInterrupt


@pytest.mark.parametrize("exchanged", [True, False])
@pytest.mark.parametrize("kind", VERSIONS)
def test_interrupted_while_it_is_put_in_place(tmp_path, monkeypatch, kind, exchanged):
    """Ctrl-C at each rename: what is complete is completed."""
    old, new = VERSIONS[kind]
    if not exchanged:
        monkeypatch.setattr(outputs, "_exchange", lambda *names: False)
    for count in range(12):
        home = tmp_path / str(count)
        home.mkdir()
        write_new(home, kind, old)
        with monkeypatch.context() as patch:
            left = [count]
            for name in ("rename", "replace"):
                real = getattr(os, name)
                patch.setattr(os, name, partial(interrupted, real, left))
            with contextlib.suppress(KeyboardInterrupt):
                write_new(home, kind, new)
        assert only(read_tree(home), kind) in (old, new)
        assert not list(home.glob(".*.work"))
        write_new(home, kind, new)
        assert only(read_tree(home), kind) == new
