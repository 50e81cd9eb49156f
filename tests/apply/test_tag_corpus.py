"""Every form of input and output, and rows of every kind."""

import gzip
import itertools
import json
from types import SimpleNamespace

import pyarrow as pa
import pytest
import spacy
from pyarrow import parquet
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_nuner.apply import on_ray, tag_corpus
from spacy_nuner.apply.parts import choose_part_size, get_tagger
from spacy_nuner.apply.tagger import Tagger, TagSettings, cut_text, hash_pipeline
from spacy_nuner.cli.app import app
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.hub import HUB_PREFIX

from .conftest import contents, make_rows, read_jsonl, read_quarantine, write_jsonl

TEXTS = ["Porto is a city.", "Nothing here.", "From Köln to Porto."]
CITIES = [["Porto"], [], ["Köln", "Porto"]]


def write_input(folder, kind):
    """Write the texts in a form; return the source and the ids."""
    rows = [{"id": f"r{n}", "text": text} for n, text in enumerate(TEXTS)]
    named = [row["id"] for row in rows]
    lines = [f"a.txt:{n}" for n in (1, 2, 3)]
    if kind == "jsonl":
        return write_jsonl(folder / "a.jsonl", rows), named
    if kind == "jsonl.gz":
        path = write_jsonl(folder / "a.jsonl", rows)
        packed = folder / "a.jsonl.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        return packed, named
    if kind == "json list":
        (folder / "a.json").write_text(json.dumps(rows, indent=1), encoding="utf8")
        return folder / "a.json", named
    if kind in ("parquet", "arrow"):
        more = [{**row, "number": n, "other": [n]} for n, row in enumerate(rows)]
        table = pa.Table.from_pylist(more)
        path = folder / f"a.{kind}"
        if kind == "parquet":
            parquet.write_table(table, path, row_group_size=2)
        else:
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table)
        return path, named
    if kind == "text":
        (folder / "a.txt").write_text("\n".join(TEXTS), encoding="utf8")
        return folder / "a.txt", lines
    assert kind in ("folder", "hub")
    (folder / "in" / "sub").mkdir(parents=True)
    write_jsonl(folder / "in" / "a.jsonl", rows[:1])
    write_jsonl(folder / "in" / "sub" / "b.jsonl", rows[1:])
    if kind == "hub":
        card = "---\nconfigs:\n- config_name: x\n  data_files: '**/*.jsonl'\n---\n"
        (folder / "in" / "README.md").write_text(card)
        return f"{HUB_PREFIX}{folder / 'in'}:x", named
    return folder / "in", named


@pytest.mark.parametrize(
    "kind",
    ["jsonl", "jsonl.gz", "json list", "parquet", "arrow", "text", "folder", "hub"],
)
def test_every_form_of_input(tag, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source, names = write_input(tmp_path, kind)
    report = tag(source, tmp_path / "out", form="jsonl")
    rows = read_jsonl(tmp_path / "out")
    assert [row["id"] for row in rows] == names
    assert [row["text"] for row in rows] == TEXTS
    assert [[one["text"] for one in row["entities"]] for row in rows] == CITIES
    assert report["counts"]["entities"] == {"CITY": 3}
    assert report["counts"]["rows"] == report["counts"]["tagged"] == 3


def test_a_data_set_that_is_a_folder_is_not_taken_for_the_same(
    tag, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source, _ = write_input(tmp_path, "hub")
    tag(source, tmp_path / "out", form="jsonl")
    rows = [{"id": "r0", "text": "Changed in Porto."}]
    write_jsonl(tmp_path / "in" / "a.jsonl", rows)
    tag(source, tmp_path / "out", form="jsonl")
    assert "is there already" not in caplog.text
    assert read_jsonl(tmp_path / "out")[0]["text"] == "Changed in Porto."


def test_a_row_says_what_was_found_and_with_what_score(tag, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [{"id": 7, "text": TEXTS[2]}])
    tag(source, tmp_path / "out", form="jsonl")
    cities = [
        {"start": 5, "end": 9, "label": "CITY", "text": "Köln", "score": 0.5833},
        {"start": 13, "end": 18, "label": "CITY", "text": "Porto", "score": 0.6458},
    ]
    spans = [{"key": "found", **one} for one in cities]
    expected = {"id": "7", "text": TEXTS[2], "entities": cities, "spans": spans}
    assert read_jsonl(tmp_path / "out") == [expected]
    tag(source, tmp_path / "without", form="jsonl", keep_text=False)
    del expected["text"]
    assert read_jsonl(tmp_path / "without") == [expected]


def test_parquet_and_docbin_say_the_same_as_json(tag, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [*make_rows(20), {"text": ""}])
    tag(source, tmp_path / "json", form="jsonl")
    rows = read_jsonl(tmp_path / "json")
    tag(source, tmp_path / "table")
    # The report and the quarantine beside the parts are no hindrance.
    table = parquet.read_table(tmp_path / "table").to_pylist()
    for row in table:
        for one in (*row["entities"], *row["spans"]):
            one["score"] = round(one["score"], 4)
    assert table == rows
    tag(source, tmp_path / "bins", form="docbin")
    docs = []
    for path in sorted((tmp_path / "bins").glob("*.spacy")):
        docs += DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)
    assert [doc.user_data["id"] for doc in docs] == [row["id"] for row in rows]
    assert [doc.text for doc in docs] == [row["text"] for row in rows]
    for doc, row in zip(docs, rows, strict=True):
        group = doc.spans["found"]
        scores = [one["score"] for one in row["spans"]]
        assert list(group.attrs["scores"]) == scores
        assert [span.start_char for span in group] == [
            one["start"] for one in row["spans"]
        ]
        assert [span.text for span in doc.ents] == [
            one["text"] for one in row["entities"]
        ]


def test_rows_that_fail_are_kept_aside_and_the_others_tagged(tag, tmp_path):
    path = tmp_path / "a.jsonl"
    good = make_rows(30)
    good[11]["text"] = "This will explode in Porto."
    write_jsonl(path, good)
    with path.open("ab") as file:
        file.write(b'{"id": "x"}\n{"id": "y", "text": 3}\nno json\n[1]\n\n')
        file.write(b'{"text": "\xff"}\n{"text": "\\ud800 alone"}\n{"text": " "}\n')
    report = tag(path, tmp_path / "out", form="jsonl")
    counts = report["counts"]
    assert counts["rows"] == 37 and counts["tagged"] == 30 and counts["empty"] == 1
    assert counts["failed"] == {
        "half of a surrogate pair, which UTF-8 can't hold": 1,
        "not JSON": 1,
        "not UTF-8": 1,
        "not a JSON object": 1,
        "the pipeline failed": 1,
        "without a text in 'text'": 2,
    }
    ids = [row["id"] for row in read_jsonl(tmp_path / "out")]
    failed = read_quarantine(tmp_path / "out")
    assert len(failed) == 7
    assert {*ids, *(one["id"] for one in failed)} >= {str(n) for n in range(30)}
    (exploded,) = [one for one in failed if one["id"] == "11"]
    assert exploded["detail"] == "ValueError: a word that nobody expects"
    assert exploded["text"] == good[11]["text"] and exploded["row"] == 12
    # What failed for a mistake that is mended since goes through again as it is.
    write_jsonl(tmp_path / "again.jsonl", [{**exploded, "text": "In Porto."}])
    tag(tmp_path / "again.jsonl", tmp_path / "again", form="jsonl")
    assert [row["id"] for row in read_jsonl(tmp_path / "again")] == ["11"]


def test_a_text_that_is_too_long_is_tagged_in_pieces(tag, tmp_path, monkeypatch):
    words = "One day in Porto, another in Köln. " * 10
    source = write_jsonl(tmp_path / "a.jsonl", [{"text": words}])
    plain = tag(source, tmp_path / "whole", form="jsonl")
    load = spacy.load

    def load_limited(name):
        nlp = load(name)
        nlp.max_length = 50
        return nlp

    monkeypatch.setattr(spacy, "load", load_limited)
    get_tagger.cache_clear()
    cut = tag(source, tmp_path / "cut", form="jsonl")
    binned = tag(source, tmp_path / "bins", form="docbin")
    get_tagger.cache_clear()
    assert plain["counts"]["cut"] == 0 and cut["counts"]["cut"] == 1
    assert binned["counts"]["entities"] == plain["counts"]["entities"]
    assert read_jsonl(tmp_path / "cut") == read_jsonl(tmp_path / "whole")


@pytest.mark.parametrize("text", ["", "abc", "ab cd ef gh\nij kl", "x" * 25])
def test_pieces_are_the_text(text):
    pieces = cut_text(text, 10)
    assert "".join(pieces) == text and all(len(one) <= 10 for one in pieces)


def test_what_is_a_row_of_a_text_file(tag, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\ufeffPorto is\nwrapped.\n\nKöln\n", encoding="utf8")
    expected = {
        "line": [("a.txt:1", "Porto is"), ("a.txt:2", "wrapped."), ("a.txt:4", "Köln")],
        "paragraph": [("a.txt:2", "Porto is wrapped."), ("a.txt:4", "Köln")],
        "file": [("a.txt:1", "Porto is\nwrapped.\n\nKöln\n")],
    }
    for unit, rows in expected.items():
        tag(path, tmp_path / unit, form="jsonl", unit=unit)
        found = [(one["id"], one["text"]) for one in read_jsonl(tmp_path / unit)]
        assert found == rows


def test_other_fields(tag, tmp_path):
    rows = [{"body": "Porto", "key": [1]}, {"body": "Köln", "key": None}]
    source = write_jsonl(tmp_path / "a.jsonl", rows)
    tag(source, tmp_path / "out", form="jsonl", field="body", id_field="key")
    ids = [row["id"] for row in read_jsonl(tmp_path / "out")]
    assert ids == ["[1]", "a.jsonl:2"]


def test_what_a_run_wrote_is_no_input_of_the_next(tag, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", [*make_rows(5), {"id": "bad"}])
    tag(source, tmp_path / "first", form="jsonl")
    report = tag(tmp_path / "first", tmp_path / "second", form="jsonl")
    assert report["counts"]["rows"] == 5
    assert read_jsonl(tmp_path / "first") == read_jsonl(tmp_path / "second")


def test_parts_fit_the_corpus():
    assert choose_part_size(1000) == choose_part_size(10_000_000) == 50_000
    assert choose_part_size(256 * 10**6) == 10**6
    assert choose_part_size(10**12) == 4_000_000
    assert choose_part_size(None) == 500_000


def test_the_command(pipeline, tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", make_rows(5))
    words = ["apply", str(pipeline), str(source), str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "5 of 5 rows" in done.output and "words/s" in done.output
    assert "10 entities: CITY 10" in done.output
    before = contents(tmp_path / "out")
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0 and "words/s" not in again.output
    assert contents(tmp_path / "out") == before
    write_jsonl(source, [{"id": 1}, {"text": "Porto"}])
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 3
    assert "1 rows were not tagged" in failed.output
    assert len(read_quarantine(tmp_path / "out")) == 1


def test_progress_without_a_terminal_is_a_line_now_and_then(
    pipeline, tmp_path, monkeypatch, capsys
):
    source = write_jsonl(tmp_path / "a.jsonl", make_rows(30))
    settings = TagSettings(str(pipeline), hash_pipeline(str(pipeline)), "jsonl")
    for pause, least in ((0, 10), (3600, 1)):
        monkeypatch.setattr(tag_corpus, "PAUSE", pause)
        output = tmp_path / str(pause)
        tag_corpus.tag_corpus(settings, str(source), output, part_size=390)
        lines = capsys.readouterr().err.split("\n")
        assert lines.pop() == "" and "\r" not in "".join(lines)
        assert least <= len(lines) <= least + 2
        assert lines[-1].startswith("100%") and "words/s" in lines[-1]


def test_loading_is_no_part_of_the_speed_of_one_process(tag, tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "a.jsonl", make_rows(5))
    loaded, clock = [], itertools.count()

    def look_at_the_clock():
        loaded.append(get_tagger.cache_info().currsize)
        return next(clock)

    monkeypatch.setattr(tag_corpus, "perf_counter", look_at_the_clock)
    get_tagger.cache_clear()
    tag(source, tmp_path / "out")
    assert loaded and all(loaded)


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"pipe": "no-such-pipeline"}, "N650"),
        ({"source": "none.jsonl"}, "N005"),
        ({"source": "-"}, "N005"),
        ({"source": "empty.jsonl"}, "N653"),
        ({"source": "hub:no/such:set"}, "N104"),
        ({"source": "broken.parquet"}, "N640"),
        ({"source": "broken.jsonl.gz"}, "N109"),
        ({"output": "out.parquet"}, "N654"),
    ],
)
def test_what_can_not_be_done_leaves_nothing(
    tag, tmp_path, monkeypatch, change, number
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_jsonl(tmp_path / "a.jsonl", make_rows(2))
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "broken.jsonl.gz").write_bytes(b"no gzip")
    before = sorted(tmp_path.iterdir())
    source = change.get("source", "a.jsonl")
    output = tmp_path / change.get("output", "out")
    with pytest.raises(NunerError, match=number):
        tag(source, output, pipe=change.get("pipe"))
    assert sorted(tmp_path.iterdir()) == before


def test_a_pipeline_that_can_not_be_loaded(tag, tmp_path):
    (tmp_path / "nlp").mkdir()
    (tmp_path / "nlp" / "config.cfg").write_text("[nlp]\nlang = 3\n")
    source = write_jsonl(tmp_path / "a.jsonl", make_rows(2))
    with pytest.raises(NunerError, match="N650"):
        tag(source, tmp_path / "out", pipe=tmp_path / "nlp")


@pytest.mark.parametrize("code", ["import no_such_package", "1 / 0"])
def test_a_package_that_can_not_be_imported(tmp_path, monkeypatch, code):
    (tmp_path / "tests_broken.py").write_text(code)
    info = tmp_path / "tests_broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tests-broken\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    # By the name of the distribution, which is none to import.
    for name in ("tests-broken", "tests_broken"):
        with pytest.raises(NunerError, match=f"N650.*'{name}'"):
            hash_pipeline(name)


@pytest.mark.parametrize("error", [ConnectionError, RuntimeError, ValueError])
def test_a_cluster_that_can_not_be_reached(error):
    def init(**settings):
        raise error("No cluster at\n10.0.0.1:6379.")

    with pytest.raises(NunerError, match=r"N655.*10.0.0.1:6379"):
        on_ray.connect(SimpleNamespace(init=init, is_initialized=lambda: False))


def test_another_pipeline_than_where_it_was_started(pipeline):
    with pytest.raises(NunerError, match="N652.*expected abcdefabcdef"):
        Tagger(TagSettings(str(pipeline), "abcdefabcdefa"))
