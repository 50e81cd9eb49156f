"""What commands write: the rules of `outputs` hold for each of them."""

import json
import os
import resource
import shutil
from itertools import product

import pytest
import spacy
from matplotlib.figure import Figure
from typer.testing import CliRunner

from spacy_nuner.annotate.prompts import Prompt, Settings
from spacy_nuner.annotate.store import Store
from spacy_nuner.cli.app import app
from spacy_nuner.pretrain.run import pretrain
from spacy_nuner.pretrain.settings import read_config
from spacy_nuner.readers.answers import Answer, Sentence

from ..conftest import ROOT, one_in, weekly
from ..pretrain.conftest import SENTENCES, bert, write_corpus  # noqa: F401
from ..test_outputs import fill, read_tree, run_child

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="forks"),
]

# Arguments of each command; {out} is the output, {in} the folder of the inputs.
LABELS = '{"date": null, "city": null}'
SUGGEST = ["suggest", "{in}/pipe", "{in}/train.jsonl"]
FOLDERS = {
    "convert": ["convert", "{in}/answers.jsonl", "{out}"],
    "stats": ["stats", "{in}/corpus", "{out}"],
    "average": ["average", "{in}/run0", "{in}/run1", "{out}"],
    "suggest brat": [*SUGGEST, "{out}", "--format", "brat"],
    "calibrate": ["calibrate", "{in}/pipe", "{in}/train.jsonl", "{out}"],
    "pretrain": [
        *("pretrain", "{in}/pretrain.cfg", "{out}", "--paths.base", "{in}/run0"),
        *("--paths.corpus", "{in}/corpus", "--training.epochs", "1"),
        *("--features.max_length", "48"),
    ],
}
FILES = {
    "draw": ["draw", "{in}/train.jsonl", "{out}/x.spacy", "--k", "1"],
    "import": ["import", "{in}/train.jsonl", "{out}/x.spacy"],
    "import records": ["import", "{in}/train.jsonl", "{out}/x.jsonl"],
    "sample": ["sample", "{in}/train.jsonl", "{out}/x.jsonl", "--n", "2"],
    "suggest": [*SUGGEST, "{out}/x.jsonl"],
    "export": ["export", "{in}/store.sqlite", "{out}/x.jsonl"],
    "show": ["show", "{in}/pipe", "In Nara.", "{out}"],
    "report": ["report", "{in}/metrics", "{out}"],
    "compare": [
        *("compare", "{in}/many.jsonl", "{out}", "--backbones", "{in}/bert"),
        # Trainings, which write nothing.
        *("--heads", "none"),
    ],
    "calibrate --report": [
        *("calibrate", "{in}/pipe", "{in}/train.jsonl", "--report", "{out}"),
    ],
}
# What they write first.
MAIN = {"show": "spans.html", "report": "report.md"}
MAIN |= {"calibrate --report": "calibration.json", "import": "x.spacy"}
MAIN |= {"draw": "x.spacy", "compare": "compare.md"}
# Results stay in a folder of several runs.
RESULTS = {
    "zero-shot": ["zero-shot", "{in}/train.jsonl", "{out}", "--backbones", "{in}/run0"],
    "fewshot": [
        *("fewshot", "{in}/train.jsonl", "{in}/train.jsonl", "{out}"),
        *("--backbones", "{in}/bert", "--k", "1", "--draws", "1"),
    ],
}
COMMANDS = {**FOLDERS, **FILES, **RESULTS}


@pytest.fixture(scope="module")
def made(tmp_path_factory, bert):  # noqa: F811
    """A folder with an input of each kind."""
    home = tmp_path_factory.mktemp("inputs")
    write_corpus(home / "corpus", SENTENCES)
    shutil.copytree(bert, home / "bert")
    settings = {"paths.corpus": str(home / "corpus"), "paths.base": str(bert)}
    settings |= {"features.max_length": 48, "training.epochs": 1}
    shutil.copy(ROOT / "configs" / "pretrain.cfg", home)
    for seed in range(2):
        config = {**settings, "training.seed": seed}
        config = read_config(home / "pretrain.cfg", config)
        pretrain(config, home / f"run{seed}")
    rows, answers = [], []
    store = Store(home / "store.sqlite")
    asked = Settings(Prompt("own", "{text}"), "model", {})
    for number, (text, mentions) in enumerate(SENTENCES):
        spans = [
            {"start": at, "end": at + len(mention), "label": "x" if number else "y"}
            for mention, _, _ in mentions[:1]
            for at in [text.index(mention)]
        ]
        rows.append({"text": text, "spans": spans})
        answer = "\n".join(f"{mention} <> {name}" for mention, name, _ in mentions)
        answers.append({"id": str(number), "text": text, "answer": answer})
        given = [(Sentence(number, str(number), text), Answer(answer, "stop"))]
        store.add(given, asked)
    store.close()
    many = [{**row, "text": f"{row['text']} {i}"} for i in range(4) for row in rows]
    for name, lines in {"train": rows, "answers": answers, "many": many}.items():
        content = "".join(json.dumps(line) + "\n" for line in lines)
        (home / f"{name}.jsonl").write_text(content)
    nlp = spacy.blank("en")
    config = {"backbone": str(home / "run0"), "labels": ["x", "y"]}
    nlp.add_pipe("nuner_concepts", config=config)
    nlp.initialize()
    nlp.to_disk(home / "pipe")
    scores = {"ents_p": 0.5, "ents_r": 0.5, "ents_f": 0.5}
    fill(home / "metrics" / "heads", {"base-ner.json": json.dumps(scores)})
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "in")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


@pytest.fixture(autouse=True)
def plain_figures(request, monkeypatch):
    """Figures of some bytes, but where the library itself finds a full disk: to draw
    them takes longer than all else, and here it is asked where they come to lie."""

    def save(figure, path, **settings):
        path.write_text('<svg width="1pt" height="1pt"></svg>')

    if request.function is not test_a_full_disk:
        monkeypatch.setattr(Figure, "savefig", save)


def run(home, name, *more, out=None):
    """Run a command; give its exit code and what it printed."""
    out = home / "out" if out is None else out
    args = [arg.format(out=out, **{"in": home / "in"}) for arg in COMMANDS[name]]
    result = CliRunner().invoke(app, [*args, *more])
    # No traceback: what is not caught is an exception of another kind.
    assert result.exception is None or isinstance(result.exception, SystemExit), (
        result.exception
    )
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("name", one_in(2, COMMANDS))
def test_it_runs_again_and_leaves_nothing_else(home, name):
    before = read_tree(home / "in")
    for _ in range(2):
        code, printed = run(home, name)
        assert code == 0, printed
    assert read_tree(home / "in") == before
    assert sorted(os.listdir(home)) == ["cwd", "in", "out"]
    assert not [path for path in (home / "out").rglob("*") if "work" in path.name]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_with_a_file_of_the_users_is_left_alone(home, name):
    for names in (
        ["report.json", "photos/cat.jpg", ".git/HEAD"],
        ["stats.json"],
        ["nuner.json", "calibration.json", "run.json"],
    ):
        fill(home / "out", dict.fromkeys(names, "{}"))
        before = read_tree(home)
        code, printed = run(home, name)
        assert code == 1 and "N004" in printed
        assert read_tree(home) == before
        shutil.rmtree(home / "out")
    assert run(home, name)[0] == 0
    fill(home / "out", {"notes.txt": "mine"})
    before = read_tree(home)
    code, printed = run(home, name)
    assert code == 1 and "N004" in printed and "notes.txt" in printed
    assert read_tree(home) == before


@pytest.mark.parametrize("name", ["convert", "pretrain"])
def test_a_work_folder_of_the_users_is_left_alone(home, name):
    for names in (["run.json"], ["run.json", "a/b"], ["new/out/x"], ["config.cfg"]):
        fill(home / "out.work", dict.fromkeys(names, "{}"))
        before = read_tree(home)
        code, printed = run(home, name)
        assert code == 1 and "N004" in printed
        assert read_tree(home) == before
        shutil.rmtree(home / "out.work")


@pytest.mark.parametrize("name", FILES)
def test_files_of_the_users_are_replaced_only_if_asked(home, name):
    main = home / "out" / MAIN.get(name, "x.jsonl")
    main.parent.mkdir()
    # Even one that looks like what the command writes.
    row = {"id": "1", "text": "mine", "source": "", "doc": "", "answer": "a <> b"}
    for content in ("mine", json.dumps(row) + "\n", ""):
        main.write_text(content)
        before = read_tree(home)
        code, printed = run(home, name)
        assert code == 1 and "N110" in printed and "--overwrite" in printed
        assert read_tree(home) == before
    code, printed = run(home, name, "--overwrite")
    assert code == 0, printed
    # Now it is the command's own.
    assert run(home, name)[0] == 0
    main.write_text("changed")
    code, printed = run(home, name)
    assert code == 1 and "N110" in printed and main.read_text() == "changed"


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("draw", ["x.draw.json"]),
        ("import", ["x.import.json", "x.quarantine.jsonl"]),
        ("import records", ["x.import.json", "x.quarantine.jsonl"]),
        ("report", ["heads.png", "heads.svg", "learning_curve.png"]),
        ("compare", ["compare.json", "forecast.svg"]),
        ("calibrate --report", ["reliability.svg"]),
    ],
)
def test_files_that_go_with_it(home, name, others):
    assert run(home, name)[0] == 0
    for other in others:
        (home / "out" / other).unlink(missing_ok=True)
        fill(home / "out", {other: "mine"})
        before = read_tree(home)
        code, printed = run(home, name)
        assert code == 1 and "N110" in printed and other in printed
        assert read_tree(home) == before
        shutil.rmtree(home / "out")
        assert run(home, name)[0] == 0


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("how", ["is", "lies in", "has in it", "by a link"])
def test_an_output_in_the_way_of_an_input(home, name, how):
    (home / "link").symlink_to(home)
    args = COMMANDS[name]
    (given,) = [arg for arg in args[:3] if arg.startswith("{in}")][:1]
    given = home / given.replace("{in}", "in")
    folders = ("show", "report", "compare", "calibrate --report")
    file = name in FILES and name not in folders
    if file and how in ("lies in", "has in it"):
        pytest.skip("the input is a file, and so is the output")
    if given.is_file() and how == "lies in":
        pytest.skip("nothing lies in a file")
    out = {
        "is": given,
        "lies in": given / "deep" / "out",
        "has in it": home / "cwd" / ".." / "in",
        "by a link": home / "link" / "in" / given.name,
    }[how]
    before = read_tree(home)
    if file:
        # Such outputs have a name of their own.
        args = [str(out) if arg.startswith("{out}") else arg for arg in args]
        if out.suffix != ".jsonl" and args[0] == "import":
            pytest.skip("no name of an output")
        args = [arg.format(**{"in": home / "in"}) for arg in args]
        result = CliRunner().invoke(app, args)
        code, printed = result.exit_code, result.output
    else:
        code, printed = run(home, name, out=out)
    assert code == 1
    # A file in place of a folder is another reason.
    assert "N030" in printed or "N107" in printed or "N032" in printed
    assert read_tree(home) == before


ODD_OUTPUTS = (".", "", "/dev/stdout", "file", "dangling", "n" * 300)


@pytest.mark.parametrize("case", one_in(5, product(COMMANDS, ODD_OUTPUTS)), ids=repr)
def test_odd_outputs(home, case):
    name, out = case
    (home / "cwd" / "file").write_text("mine")
    (home / "cwd" / "dangling").symlink_to("nowhere")
    before = read_tree(home)
    if name in FILES and "/" in COMMANDS[name][2]:
        args = [arg.replace("{out}/x.", f"{out}/x.") for arg in COMMANDS[name]]
        args = [arg.format(out=out, **{"in": home / "in"}) for arg in args]
        result = CliRunner().invoke(app, args)
        code, printed = result.exit_code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
    else:
        code, printed = run(home, name, out=out)
    if code == 0:
        # Into the current folder go files beside others.
        assert out in (".", "")
        return
    assert "[N" in printed
    assert read_tree(home) == before


@pytest.mark.parametrize("room", [0, *weekly(1_000, 20_000, 60_000)])
@pytest.mark.parametrize("name", one_in(3, COMMANDS))
def test_a_full_disk(home, name, room):
    """Every file is cut off after some bytes, as by a disk that is full."""
    if name not in RESULTS:
        assert run(home, name)[0] == 0
    before = read_tree(home / "out") if (home / "out").exists() else {}

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        code, printed = run(home, name)
        # An input may need a temporary file too, and is reported as that.
        os._exit(3 if code and "[N" in printed else code and 4)

    code = run_child(write, 1_000_000)
    assert code in (0, 3), name
    if code and name not in RESULTS:
        assert read_tree(home / "out") == before
    code, printed = run(home, name)
    assert code == 0, printed


CHEAP = ("draw", *weekly("import", "export", "convert", "report"))


@pytest.mark.parametrize("name", CHEAP)
def test_killed_at_any_operation(home, name):
    code, printed = run(home, name)
    assert code == 0, printed
    shutil.copytree(home / "out", home / "before")
    # Another input: the output of before stays, or the new one is there.
    for path in (home / "in").glob("*.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[1:]))
    shutil.copy(
        home / "in" / "metrics" / "heads" / "base-ner.json",
        home / "in" / "metrics" / "heads" / "nuner-ner.json",
    )
    assert run(home, name)[0] == 0
    after = read_tree(home / "out")
    child, count = 99, 0
    while child:
        shutil.rmtree(home / "out")
        shutil.copytree(home / "before", home / "out")
        child = run_child(lambda: run(home, name), count)
        assert child in (0, 99)
        code, printed = run(home, name)
        assert code == 0, printed
        assert read_tree(home / "out") == after, count
        assert sorted(os.listdir(home)) == ["before", "cwd", "in", "out"]
        # Without a work folder, most operations are those of libraries.
        count += 1


def test_a_log_is_appended_to_only_if_it_is_one(home):
    (home / "log").write_text("dear diary")
    args = ["annotate", home / "in" / "train.jsonl", home / "s.sqlite", "--model", "m"]
    args += ["--base-url", "http://127.0.0.1:9", "--retries", 0, "--log"]
    for log, number in (
        (home / "log", "N033"),
        (home / "in" / "train.jsonl", "N030"),
        (home / "s.sqlite", "N030"),
        (home / "in", "N032"),
        ("/dev/null", "N032"),
    ):
        before = read_tree(home / "in")
        result = CliRunner().invoke(app, [*map(str, args), str(log)])
        assert result.exit_code == 1 and number in result.output, log
        assert read_tree(home / "in") == before
    assert (home / "log").read_text() == "dear diary"
