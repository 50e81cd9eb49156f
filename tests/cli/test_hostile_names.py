"""No command prints what acts on a terminal, whatever labels, texts and files hold."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import unicodedata

import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from spacy_nuner.annotate.prompts import Settings, load_prompt
from spacy_nuner.annotate.store import Store
from spacy_nuner.cli.app import app
from spacy_nuner.encoders.card import model_card
from spacy_nuner.encoders.folder import read_info
from spacy_nuner.publish.cards import make_card
from spacy_nuner.readers.answers import Answer, Sentence

from ..conftest import ROOT
from ..util import make_tiny_bert

NAMES = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "C1": "\x9b31mred",
    "erase": "ok\x08\x08no\x7f",
    "return": "a\rb",
    "lines": "a\nb\n✔ all is well",
    "turned": "\u202egnp.exe",
    "isolated": "\u2066x",
    "separators": "a\u2028b\u2029c\x85d",
    "pipe": "a|b || c",
    "html": "<script>alert(1)</script>&amp;",
    "markdown": "`x` **b** [l](http://e.org) _i_ # h",
    "formula": "$\\frac$ and $x^2$",
    "dollar": "US$ \\$",
    "TeX": "a_b^c\\d%e{f}~g",
    "long": "x" * 1000,
    "emoji": "👩\u200d👩\u200d👧",
    "Hebrew": "עברית",
    "Chinese": "北京",
    "marks": "e\u0301\u0302",
    "quotes": "\"'\\",
    "template": "{0} {text} %s {{",
}


def is_safe(output):
    return not any(
        (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c != "\n")
        or "\u202a" <= c <= "\u202e"
        or "\u2066" <= c <= "\u2069"
        for c in output
    )


def run(*args, code=0):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    # spaCy's own words, in colour.
    printed = result.stdout.replace("\x1b[38;5;4mℹ Using CPU\x1b[0m", "")
    assert is_safe(printed), repr(printed)
    # A bar goes back to the beginning of its line.
    assert is_safe(result.stderr.replace("\r", "")), repr(result.stderr)
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a very long name of a folder with blanks")
    rows = [
        {
            "text": f"{word} is here and {word} there",
            "spans": [{"start": 0, "end": len(word), "label": label}],
        }
        for label in NAMES.values()
        for word in ("Anna", "Lisbon")
    ]
    text = "\n".join(map(json.dumps, rows))
    (folder / "set.jsonl").write_text(text + "\n", encoding="utf8")
    records = [
        {
            "text": f"{name!s} stands here {word}",
            "entities": [
                {"text": word, "concept": name, "description": f"of {name}"},
                {"text": "here", "concept": name, "description": None},
            ],
        }
        for name in NAMES.values()
        for word in ("Anna", "Lisbon")
    ]
    text = "\n".join(map(json.dumps, records))
    (folder / "records.jsonl").write_text(text + "\n", encoding="utf8")
    (folder / "labels.json").write_text(json.dumps(list(NAMES.values())))
    make_tiny_bert(folder / "bert", [row["text"] for row in rows])
    return folder


@pytest.mark.weekly
def test_import_and_draw(folder, tmp_path):
    for i, name in enumerate(NAMES.values()):
        row = {"text": "Anna here", "spans": [{"start": 0, "end": 4, "label": name}]}
        path = tmp_path / f"{i}.jsonl"
        path.write_text(json.dumps(row) + "\n")
        run("import", path, tmp_path / f"{i}.spacy")
        run("draw", path, tmp_path / f"{i}-drawn.spacy", "--k", 1)
    run("import", folder / "set.jsonl", tmp_path / "set.spacy")
    out = run("draw", folder / "set.jsonl", tmp_path / "a.spacy", "--k", 1)
    assert r"\x1b[31mred\x1b[0m 1" in " ".join(out.split())
    command = ("draw", folder / "set.jsonl", tmp_path / "b.spacy")
    assert "W603" in run(*command, "--k", 9, "--allow-fewer")
    run("draw", folder / "set.jsonl", tmp_path / "c.spacy", "--k", 9, code=1)


@pytest.fixture(scope="module")
def corpus(folder):
    run("convert", folder / "records.jsonl", folder / "corpus")
    return folder / "corpus"


def test_stats(corpus, tmp_path, recwarn):
    run("stats", corpus, tmp_path / "stats")
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
    page = (tmp_path / "stats" / "stats.html").read_text("utf8")
    assert is_safe(page)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert page.count("<script>") == page.count("</script>") == 1
    stats = json.loads((tmp_path / "stats" / "stats.json").read_text("utf8"))
    assert "us$ \\$" in stats["most_frequent"]
    for name in ("ranks", "cloud", "map"):
        assert (tmp_path / "stats" / f"{name}.png").stat().st_size > 1000


def test_what_can_not_be_used_is_printed_safely(tmp_path):
    name = NAMES["colour"]
    path = tmp_path / f"{name}.jsonl"
    path.write_text(f'{{"text": "x", "spans": 3}}\n{name}\n')
    run("convert", path, tmp_path / "out", code=1)
    run("import", path, tmp_path / "out.spacy", code=1)
    run("draw", path, tmp_path / "out.spacy", "--k", 1, code=1)
    run("stats", tmp_path / name, tmp_path / "out", code=1)
    run("report", tmp_path / name, tmp_path / "out", code=1)
    run("show", tmp_path / name, name, tmp_path / "out", code=1)
    run("show", tmp_path / name, f"{name}.txt", tmp_path / "out", code=1)
    run("export", path, tmp_path / "out.jsonl", code=1)
    run("sample", path, tmp_path / "out.jsonl", "--n", 1, code=1)
    run("calibrate", path, path, tmp_path / "out", code=1)
    run("pretrain", path, tmp_path / "out", code=1)
    run("average", path, path, tmp_path / "out", code=1)
    run("annotate", path, tmp_path / "st", "--model", name, "--prompt", name, code=1)
    run("annotate", path, tmp_path / "st", "--model", "m", "--extra", name, code=1)
    run("annotate", path, tmp_path / "st", "--model", "m", "--retry", name, code=2)
    run("draw", path, tmp_path / "o.spacy", "--k", name, code=2)
    run("draw", path, tmp_path / "o.spacy", f"--{name}", code=2)
    run("convert", path, tmp_path / "o", "--occurrences", name, code=2)
    command = ("fewshot", path, path, tmp_path / "out", "--backbones", name)
    run(*command, code=1)
    run(*command, "--k", name, code=2)


def test_show(corpus, folder, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(NAMES.values()), encoding="utf8")
    labels = folder / "labels.json"
    encoder = folder / "backbone"
    if not encoder.exists():
        make_backbone(folder, encoder)
    run(
        *("show", encoder, text, tmp_path / "out", "--labels", labels),
        *("--threshold", 0.01),
    )
    half = tmp_path / "half.json"
    half.write_text('{"a\\ud83d": null}')
    out = run("show", encoder, text, tmp_path / "out", "--labels", half, code=1)
    assert "N053" in out and r"a\ud83d" in out
    half.write_text('{"a": {"name": "a\\ud83d"}}')
    run("show", encoder, text, tmp_path / "out", "--labels", half, code=1)
    page = (tmp_path / "out" / "spans.html").read_text("utf8")
    assert is_safe(page)
    assert "<script" not in page


def make_backbone(folder, output):
    """A backbone of a corpus with such concepts, in one step."""
    config = folder / "pretrain.cfg"
    config.write_text("")
    run(
        *("pretrain", config, output, "--paths.corpus", folder / "corpus"),
        *("--paths.base", folder / "bert", "--training.epochs", 1),
        *("--features.max_length", 32, "--evaluation.validation_share", 0),
    )


def test_the_card_of_a_backbone(corpus, folder):
    output = folder / "backbone"
    if not output.exists():
        make_backbone(folder, output)
    assert is_safe((output / "README.md").read_text("utf8"))
    info = json.loads((output / "nuner.json").read_text("utf8"))
    info["data"]["top_concepts"] = [[name, 2] for name in NAMES.values()]
    card = model_card(info)
    assert is_safe(card)
    assert "<script" not in card
    assert "&lt;script&gt;" in card
    assert r"a\|b" in card
    info |= {
        "command": "spacy nuner pretrain '```\n\n# Owned'",
        "base": "x/y\nlicense: none",
        "template": "a | `b` {name}",
        "created": "today\n# Owned",
    }
    card = model_card(info)
    assert "\nlicense:" not in card
    head = card.split("---\n")[1]
    assert "base_model" not in head
    outside = re.sub(r"(?ms)^(`{3,})bash\n.*?\n\1$", "", card)
    assert "# Owned" not in outside.replace(r"\n# Owned", "")
    assert r"| text of a concept | a \| \`b\` {name} |" in card
    assert read_info(output) is not None


@pytest.mark.parametrize("kind", NAMES)
def test_the_card_of_a_pipeline(tmp_path, kind):
    """Whatever stands in `meta.json`, as Markdown it is what it is without it."""
    name = NAMES[kind]
    written = [
        make_pipeline_card(tmp_path / x, y) for x, y in (("a", "x"), ("b", name))
    ]
    assert is_safe(written[1])
    parser = MarkdownIt("commonmark").enable("table")
    bodies = [card.split("\n---\n", 1)[1] for card in written]
    plain, tokens = ([*flatten(parser.parse(body))] for body in bodies)
    # Where one breaks out, there is another kind of token, or one more.
    assert [one.type for one in tokens if one.type != "softbreak"] == [
        one.type for one in plain if one.type != "softbreak"
    ]
    blocks = [one.content for one in plain if one.type == "html_block"]
    assert [one.content for one in tokens if one.type == "html_block"] == blocks


def flatten(tokens):
    for token in tokens:
        # Texts may be in one piece or in several.
        if token.type not in ("text", "html_inline"):
            yield token
        assert token.type != "html_inline" or token.content == "<br>"
        yield from flatten(token.children or [])


def make_pipeline_card(folder, name):
    folder.mkdir()
    (folder / "config.cfg").write_text("")
    meta = {
        **{"lang": "en", "name": name, "version": name, "spacy_version": name},
        **{"description": name, "author": name, "notes": f"# {name}\n\n- {name}"},
        **{"url": "https://e.org", "license": name, "vectors": {"keys": name}},
        **{"pipeline": [name], "components": [name], "labels": {name: [name, name]}},
        "performance": {name: 0.5},
        "sources": [name, {"name": name, "url": "https://e.org", "author": name}],
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return make_card(folder)


@pytest.mark.weekly
def test_fewshot_and_report(folder, tmp_path, recwarn):
    source = folder / "set.jsonl"
    command = ("fewshot", source, source, tmp_path / "m", "--k", "1", "--draws", 1)
    command += ("--backbones", folder / "bert", "--names", "base", "--layers", "last")
    run(*command, "--dataset", NAMES["colour"])
    (cell,) = (tmp_path / "m").rglob("draw0.json")
    content = json.loads(cell.read_text("utf8"))
    for i, name in enumerate(NAMES.values()):
        other = tmp_path / "m" / str(i) / "k1" / "draw0.json"
        other.parent.mkdir(parents=True)
        backbone = name if i % 2 else "base"
        other.write_text(json.dumps({**content, "dataset": name, "backbone": backbone}))
        heads = tmp_path / "m" / "heads"
        heads.mkdir(exist_ok=True)
        (heads / "base-ner.json").write_text('{"ents_p": 0, "ents_r": 0, "ents_f": 0}')
        if len(name) < 200 and "/" not in name:
            file = heads / f"{name}-ner.json"
            file.write_text('{"ents_p": 1, "ents_r": 1, "ents_f": 0.5}')
    run("report", tmp_path / "m", tmp_path / "report")
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
    text = (tmp_path / "report" / "report.md").read_text("utf8")
    assert is_safe(text)
    assert "<script" not in text
    for table in re.findall(r"(?m)(?:^\|.*\n)+", text):
        rows = table.splitlines()
        counts = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
        assert len(counts) == 1, table
    assert (tmp_path / "report" / "heads.png").stat().st_size > 1000


def test_export(tmp_path):
    settings = Settings(load_prompt("paper"), "m\x1b[31m", {})
    store = Store(tmp_path / "st.sqlite")
    store.add([(Sentence(1, "\x1b[31m", "Ana left."), Answer("?"))], settings)
    store.add(
        [(Sentence(1, "\x1b[31m", "Ana left."), Answer("?"))],
        Settings(load_prompt("blog"), "n\x1b]0;x\x07", {}),
    )
    store.close()
    out = tmp_path / "\x1b[31m.jsonl"
    printed = run("export", tmp_path / "st.sqlite", out, code=1)
    assert "N211" in printed
    run("export", tmp_path / "st.sqlite", out, "--model", "m\x1b[31m")


# File names that are not UTF-8, and terminals that are not

BYTES = b"a\xff\xfe\x1b[31m"
SETTINGS = [
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


COMMANDS = """
import ast, os, sys
from spacy_nuner.cli.app import app
for args in ast.literal_eval(sys.stdin.readline()):
    try:
        app([os.fsdecode(arg) for arg in args])
    except SystemExit as error:
        print("ended with", error.code, flush=True)
"""


@pytest.mark.weekly
@pytest.mark.slow
@pytest.mark.parametrize("env", SETTINGS, ids=lambda env: next(iter(env)))
def test_names_that_are_not_utf8(tmp_path, env):
    source = tmp_path / os.fsdecode(BYTES + "é.jsonl".encode())
    target = tmp_path / os.fsdecode(BYTES)
    row = {"text": "Anna", "spans": [{"start": 0, "end": 4, "label": "é北\x1b[31m"}]}
    with source.open("w", encoding="utf8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.write('{"text": "é\\ud83d"}\nnone\n')
    commands = [
        ["import", source, f"{target}.spacy"],
        ["convert", source, target],
        ["draw", source, f"{target}-drawn.spacy", "--k", "1"],
        ["show", target, "x", target, "--labels", "x"],
        ["convert", f"{source}.none", f"{target}2"],
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
    result = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=repr([[os.fsencode(arg) for arg in args] for args in commands]).encode(),
        env={**kept, "COLUMNS": "40", **env},
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    printed = result.stdout.decode("utf8" if "LC_ALL" not in env else "ascii")
    assert re.findall("ended with (.*)", printed) == ["0", "0", "1", "1", "1"], printed
    assert b"\x1b" not in result.stdout and b"\x1b" not in result.stderr
    assert b"Traceback" not in result.stderr, result.stderr.decode()
    assert re.findall(r"\[(N\d+)\]", printed) == ["N606", "N053", "N005"]
    with open(f"{target}.import.json", encoding="utf8") as file:
        name = json.load(file)["inputs"][0]["file"]
    assert os.fsencode(name) == os.fsencode(source)


def test_a_folder_that_is_not_utf8(folder, corpus, tmp_path):
    place = tmp_path / os.fsdecode(b"f\xff\x1b[31m|x")
    place.mkdir()
    source = place / os.fsdecode(b"set\xfe.jsonl")
    source.write_bytes((folder / "set.jsonl").read_bytes())
    texts = place / os.fsdecode(b"texts\xfe.txt")
    texts.write_text("Anna left Lisbon a long time ago.\n")
    run("import", source, place / "set.spacy")
    run("draw", source, place / "drawn.spacy", "--k", 1)
    run("convert", source, place / "corpus")
    run("stats", place / "corpus", place / "stats")
    run("sample", texts, place / "sample.jsonl", "--n", 1)
    probe = (source, source, place / "m", "--k", 1, "--draws", 1, "--names", "base")
    run("fewshot", *probe, "--backbones", folder / "bert")
    run("report", place / "m", place / "report")
    # What tokenizers and Arrow can't open.
    shutil.copytree(folder / "bert", place / "bert")
    out = run("fewshot", *probe, "--backbones", place / "bert", code=1)
    assert "N053" in out
    config = place / "empty.cfg"
    config.write_text("")
    command = ("pretrain", config, place / "b", "--paths.base", folder / "bert")
    assert "N053" in run(*command, "--paths.corpus", place / "corpus", code=1)
    out = run("average", folder / "bert", place / "bert", place / "b", code=1)
    assert "N053" in out


def test_any_other_error_is_printed_without_keys(monkeypatch):
    def fail(*args, **kwargs):
        secret = os.environ["OPENAI_API_KEY"]
        try:
            raise ValueError(f"a\x1b[31mb {secret[:15]}")
        except ValueError as error:
            raise RuntimeError(f"of {secret}") from error

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef-SECRET")
    monkeypatch.setattr("spacy_nuner.cli.report.report", fail)
    result = CliRunner().invoke(app, ["report", "a", "b"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr and "in fail" in result.stderr
    assert r"ValueError: a\x1b[31mb ***" in result.stderr
    assert "RuntimeError: of ***" in result.stderr
    assert is_safe(result.output)


def test_the_terminal_is_the_one_way_to_print():
    """wasabi's own printer takes texts as they are."""
    for path in (ROOT / "spacy_nuner").rglob("*.py"):
        assert "wasabi import msg" not in path.read_text("utf8"), path


@pytest.mark.weekly
@pytest.mark.slow
def test_a_terminal_gets_colours_but_those_of_no_file(tmp_path):
    path = tmp_path / "set.jsonl"
    label = "\x1b[35mX\x9b35m\x1b]0;owned\x07"
    row = {"text": "Anna", "spans": [{"start": 0, "end": 4, "label": label}]}
    path.write_text(json.dumps(row) + "\n")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "spacy_nuner", "draw", str(path)]
    command += [str(tmp_path / "a.spacy"), "--k", "1"]
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    env["TERM"] = "xterm-256color"
    process = subprocess.Popen(command, env=env, stdout=theirs, stderr=theirs)
    assert process.wait() == 0
    os.close(theirs)
    printed = os.read(ours, 100_000).decode("utf8")
    os.close(ours)
    assert printed.startswith("\x1b[38;5;2m✔")
    found = re.findall(r"\x1b\[[0-9;]*m", printed)
    assert set(found) == {"\x1b[38;5;2m", "\x1b[0m"}
    assert is_safe(re.sub(r"\x1b\[[0-9;]*m", "", printed).replace("\r\n", "\n"))
