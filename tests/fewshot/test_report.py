import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.report import write_report
from spacy_nuner.fewshot.results import (
    AVERAGE,
    Cell,
    Curves,
    Point,
    format_gain,
    format_point,
    get_backbone,
    read_cells,
    read_heads,
)

# data set -> backbone -> k -> macro token F1 of three draws
RECORDED = {
    "cooking": {
        "base": {1: (0.10, 0.20, 0.30), 4: (0.40, 0.40, 0.40)},
        "nuner": {1: (0.30, 0.40, 0.50), 4: (0.50, 0.55, 0.60)},
    },
    "sailing": {
        "base": {1: (0.30, 0.30, 0.30), 4: (0.50, 0.60, 0.70)},
        "nuner": {1: (0.40, 0.50, 0.60), 4: (0.70, 0.70, 0.70)},
    },
}


def record(root, *, only=None):
    for dataset, backbones in RECORDED.items():
        for backbone, curve in backbones.items():
            for k, values in curve.items():
                for draw, value in enumerate(values):
                    if only and dataset not in only:
                        continue
                    make_cell(dataset, backbone, k, draw, value).to_disk(root)


def make_cell(dataset, backbone, k, draw, value):
    return Cell(
        dataset=dataset,
        backbone=backbone,
        layers="last",
        k=k,
        draw=draw,
        sentences=200 if k == "all" else 3 * k + draw,
        mentions={"A": 9, "B": 99} if k == "all" else {"A": k, "B": k + draw},
        settings={
            "encoder": {"name": backbone, "sha256": backbone * 8},
            "hidden_layers": [-1],
        },
        scores={"macro_token_f": value, "ents_f": value / 2},
    )


def record_heads(root):
    heads = root / "heads"
    (heads / "nuner-ner").mkdir(parents=True)
    scores = {"base-ner": (0.5, 0.4, 0.43), "base-parser": (0.3, 0.32, 0.307)}
    for name, (p, r, f) in scores.items():
        content = {"ents_p": p, "ents_r": r, "ents_f": f, "speed": 1}
        (heads / f"{name}.json").write_text(json.dumps(content))
    for draw, f in enumerate((0.5, 0.52)):
        content = {"ents_p": f, "ents_r": f, "ents_f": f}
        (heads / "nuner-ner" / f"draw{draw}.json").write_text(json.dumps(content))


def rows_below(report, heading):
    section = report.split(heading, 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    record(folder / "probe")
    record_heads(folder)
    return folder


@pytest.fixture(scope="module")
def output(metrics, tmp_path_factory):
    return tmp_path_factory.mktemp("report") / "deep"


@pytest.fixture(scope="module")
def written(metrics, output):
    return write_report(metrics, output)


def test_report_from_recorded_results(output, written):
    found = {path.name for path in output.iterdir()}
    assert found == {path.name for path in written} | {".report.md.spacy_nuner.json"}
    report = (output / "report.md").read_text("utf8")
    rows = rows_below(report, "### Average over data sets: macro token F1, last layer")
    assert rows[0] == ["backbone", "k=1", "k=4"]
    # The mean over data sets of each draw, then mean and spread over the draws.
    assert rows[2] == ["base", "25.0 ± 5.0", "50.0 ± 5.0"]
    assert rows[3] == ["nuner", "45.0 ± 10.0", "62.5 ± 2.5"]
    assert rows[4] == ["gain over base", "+20.0", "+12.5"]
    rows = rows_below(report, "### cooking: macro token F1, last layer")
    assert rows[2] == ["base", "20.0 ± 10.0", "40.0 ± 0.0"]
    rows = rows_below(report, "### cooking: entity F1, last layer")
    assert rows[2] == ["base", "10.0 ± 5.0", "20.0 ± 0.0"]
    rows = rows_below(report, "## Trained heads")
    assert rows[0][3:] == ["F1", "gain over base-ner", "gain over base-parser"]
    assert rows[2] == ["base-ner", "50.0", "40.0", "43.0", "", "+12.3"]
    assert rows[4][0] == "nuner-ner"
    assert rows[4][3:] == ["51.0 ± 1.4", "+8.0", "+20.3"]
    rows = rows_below(report, "### What was drawn")
    assert rows[2] == ["cooking", "1", "3", "3 to 5", "1 to 3"]


def make_head(backbone, head, k, value):
    cell = make_cell("a", backbone, k, 0, value)
    return replace(cell, layers=f"mentions-{head}", protocol="mentions", head=head)


def test_heads_of_a_protocol_stand_in_one_table(tmp_path):
    for backbone, head, k, value in (
        ("base", "linear-frozen", 1, 0.2),
        ("base", "linear-frozen", 4, 0.4),
        ("nuner", "linear-frozen", 1, 0.4),
        ("nuner", "ner-tuned", 4, 0.5),
        ("some-llm", "spacy-llm", 1, 0.6),
    ):
        make_head(backbone, head, k, value).to_disk(tmp_path / "in")
    make_cell("a", "base", 1, 0, 0.1).to_disk(tmp_path / "in")
    write_report(tmp_path / "in", tmp_path / "out")
    report = (tmp_path / "out" / "report.md").read_text("utf8")
    report = report.split("## Protocol mentions")[1]
    assert report.count("### a: entity F1") == 1
    rows = rows_below(report, "### a: entity F1")
    assert rows[0] == ["backbone", "head", "k=1", "k=4"]
    # Only what was measured; a gain where the base had the same head.
    assert rows[2:] == [
        ["base", "mentions-linear-frozen", "10.0", "20.0"],
        ["nuner", "mentions-linear-frozen", "20.0", "–"],
        ["gain over base", "mentions-linear-frozen", "+10.0", "–"],
        ["nuner", "mentions-ner-tuned", "–", "25.0"],
        ["some-llm", "mentions-spacy-llm", "30.0", "–"],
    ]
    # Nor is there a table of efficiency without a curve.
    assert report.count("### Data efficiency of") == 1


def test_no_gains_where_the_base_was_not_measured(tmp_path):
    types = {"token_f_per_label": {"city": 0.5, "person": 0.25}}
    for name, value in (("aaa", 0.2), ("nuner", 0.4)):
        cell = make_head(name, "linear", 1, value)
        replace(cell, scores={**cell.scores, **types}).to_disk(tmp_path / "in")
        cell = make_cell("a", name, 1, 0, value)
        replace(cell, layers="both").to_disk(tmp_path / "in")
    make_cell("a", "base", 1, 0, 0.1).to_disk(tmp_path / "in")
    write_report(tmp_path / "in", tmp_path / "out")
    report = (tmp_path / "out" / "report.md").read_text("utf8")
    probe, heads = report.split("## Protocol mentions")
    assert "gain" not in heads and "Data efficiency" not in report
    rows = rows_below(heads, "### By type")
    assert rows[0] == ["type", "data set", "aaa", "nuner"]
    assert [row[0] for row in rows[2:]] == ["city", "person"]
    rows = rows_below(probe, "### a: entity F1, last + middle layer")
    assert [row[0] for row in rows[2:]] == ["aaa", "nuner"]


def test_figures_are_whole_and_the_same_each_time(metrics, output, written, tmp_path):
    write_report(metrics, tmp_path)
    for name in ("learning_curve", "heads"):
        assert (output / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        for kind in ("png", "svg"):
            first = (output / f"{name}.{kind}").read_bytes()
            assert first == (tmp_path / f"{name}.{kind}").read_bytes()
        ElementTree.parse(output / f"{name}.svg")
    assert b"<dc:date>" not in (output / "heads.svg").read_bytes()


def test_each_part_alone(tmp_path):
    probe, heads = tmp_path / "probe", tmp_path / "trained"
    record(probe, only=["cooking"])
    record_heads(heads)
    names = {path.name for path in write_report(probe, tmp_path / "a")}
    texts = {"report.md", "report.html"}
    assert names == texts | {"learning_curve.png", "learning_curve.svg"}
    report = (tmp_path / "a" / "report.md").read_text("utf8")
    assert "Average" not in report and "Trained heads" not in report
    names = {path.name for path in write_report(heads, tmp_path / "b")}
    assert names == texts | {"heads.png", "heads.svg"}


def test_an_average_needs_the_same_draws_on_every_set(tmp_path):
    cells = [
        make_cell("a", "base", 1, 0, 0.1),
        make_cell("a", "base", 1, 1, 0.3),
        make_cell("b", "base", 1, 0, 0.2),
        make_cell("a", "base", 4, 0, 0.4),
    ]
    curves = Curves(cells, "macro_token_f")
    assert curves.point(AVERAGE, "last", "base", 1) is None
    assert curves.point(AVERAGE, "last", "base", 4) is None
    assert curves.point("b", "last", "base", 4) is None
    assert curves.point("b", "last", "base", 1) == (0.2, None, 1)
    both = Curves([*cells, make_cell("b", "base", 1, 1, 0.4)], "macro_token_f")
    assert both.point(AVERAGE, "last", "base", 1).mean == pytest.approx(0.25)


def test_a_set_without_a_curve_takes_no_part_in_the_average():
    cells = [make_cell("c", "base", 0, 0, 0.9)]
    for dataset, value in (("a", 0.2), ("b", 0.4)):
        cells.append(make_cell(dataset, "base", 4, 1, value))
        cells.append(make_cell(dataset, "base", 0, 0, value / 2))
    curves = Curves(cells, "macro_token_f")
    assert curves.datasets == ["a", "b", "c"] and curves.averaged == ["a", "b"]
    for k, value in ((4, 0.3), (0, 0.15)):
        point = curves.point("average", "last", "base", k)
        assert point.mean == pytest.approx(value)
    # Sets that are known by names alone have a mean of their own.
    alone = Curves([x for x in cells if not x.k], "macro_token_f")
    assert alone.point("average", "last", "base", 0).mean == pytest.approx(0.4)


def test_whole_sets_of_any_size_are_one_column(tmp_path):
    for dataset, backbones in RECORDED.items():
        for backbone in backbones:
            make_cell(dataset, backbone, 4, 0, 0.5).to_disk(tmp_path / "in")
            value = 0.7 if backbone == "base" else 0.8
            make_cell(dataset, backbone, "all", 0, value).to_disk(tmp_path / "in")
    write_report(tmp_path / "in", tmp_path / "out")
    report = (tmp_path / "out" / "report.md").read_text("utf8")
    rows = rows_below(report, "### Average over data sets: macro token F1, last layer")
    assert rows[0] == ["backbone", "k=4", "all"]
    assert rows[4] == ["gain over base", "+0.0", "+10.0"]
    rows = rows_below(report, "### What was drawn")
    assert [row[1] for row in rows[2:]] == ["4", "all"] * 2
    figure = (tmp_path / "out" / "learning_curve.svg").read_text("utf8")
    assert "<!-- all -->" in figure
    # And where there is nothing else.
    shutil.rmtree(tmp_path / "in" / "sailing")
    for path in tmp_path.rglob("k4"):
        shutil.rmtree(path)
    write_report(tmp_path / "in", tmp_path / "out")
    report = (tmp_path / "out" / "report.md").read_text("utf8")
    rows = rows_below(report, "### cooking: macro token F1, last layer")
    assert [row[1] for row in rows] == ["all", "---:", "70.0", "80.0", "+10.0"]
    assert "Data efficiency" not in report


def test_labels_with_fewer_mentions_than_k(tmp_path):
    for backbone, value in (("base", 0.1), ("nuner", 0.2)):
        for k in (4, 16):
            cell = make_cell("cooking", backbone, k, 0, value + k / 100)
            cell = replace(cell, mentions={"A": 9, "B": 7})
            cell.to_disk(tmp_path / "in")
    write_report(tmp_path / "in", tmp_path / "out")
    report = (tmp_path / "out" / "report.md").read_text("utf8")
    text = report.split("### Data efficiency of nuner")[1].split("###")[0]
    assert "in cooking at k=16: 2 of 2 labels." in text and "k=4:" not in text


def test_the_base_may_be_in_one_part_of_the_results(tmp_path):
    record_heads(tmp_path / "in")
    make_cell("a", "some-llm", 1, 0, 0.4).to_disk(tmp_path / "in")
    write_report(tmp_path / "in", tmp_path / "out")
    assert "base-ner" in (tmp_path / "out" / "report.md").read_text("utf8")


def test_writing_of_numbers():
    assert format_point(None) == format_gain(None, None) == "–"
    assert format_point(Point(0.5, None, 1)) == "50.0"
    assert format_point(Point(0.5, 0.012, 3)) == "50.0 ± 1.2"
    assert format_gain(Point(0.4, None, 1), Point(0.5, 0.1, 3)) == "-10.0"


def test_names_of_heads(tmp_path):
    assert get_backbone("nuner-ner") == "nuner"
    assert get_backbone("MiniLM-L6-parser") == "MiniLM-L6"
    heads = tmp_path / "heads"
    heads.mkdir()
    # spaCy writes null where a score has nothing to count.
    (heads / "base-ner.json").write_text('{"ents_f": null, "ents_p": 0, "ents_r": 0}')
    assert read_heads(tmp_path)["base-ner"]["ents_f"].mean == 0


@pytest.mark.parametrize(
    "content, reason", [("{", "N631"), ('{"tag_acc": 1}', "ents_f"), ("[]", "ents_f")]
)
def test_files_that_are_no_results(tmp_path, content, reason):
    heads = tmp_path / "in" / "heads"
    heads.mkdir(parents=True)
    (heads / "base-ner.json").write_text(content)
    with pytest.raises(NunerError, match=reason) as caught:
        write_report(tmp_path / "in", tmp_path / "out")
    assert "base-ner.json" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_to_report_and_no_such_base(tmp_path):
    with pytest.raises(NunerError) as caught:
        write_report(tmp_path / "in", tmp_path / "out")
    assert caught.value.code == "N632"
    record(tmp_path / "in")
    with pytest.raises(NunerError) as caught:
        write_report(tmp_path / "in", tmp_path / "out", base="roberta")
    assert caught.value.code == "N633"
    assert "base, nuner" in str(caught.value)


def test_cells_are_flat_json_and_come_back(tmp_path):
    cell = make_cell("a", "base", 4, 1, 0.5)
    cell.to_disk(tmp_path)
    path = tmp_path / "a" / "base" / "last" / "k4" / "draw1.json"
    content = json.loads(path.read_text("utf8"))
    assert content["macro_token_f"] == 0.5 and content["k"] == 4
    assert "scores" not in content
    assert read_cells(tmp_path) == [cell]
    assert replace(cell, scores={}).find_finished(tmp_path) == cell
    assert replace(cell, settings={"other": 1}).find_finished(tmp_path) is None


def test_two_results_of_one_cell(tmp_path):
    cell = make_cell("a", "base", 4, 1, 0.5)
    for folder in ("one", "two"):
        cell.to_disk(tmp_path / folder)
    # The same experiment twice is one result.
    assert read_cells(tmp_path) == [cell]
    other = replace(cell, settings={**cell.settings, "seed": 9})
    other.to_disk(tmp_path / "two")
    path = Path("a", "base", "last", "k4", "draw1.json")
    with pytest.raises(NunerError, match="N629.*seed") as caught:
        read_cells(tmp_path)
    assert all(str(tmp_path / x / path) in str(caught.value) for x in ("one", "two"))
    # Of another protocol it is another cell; what is hidden is no result.
    replace(other, protocol="words").to_disk(tmp_path / "two")
    assert len(read_cells(tmp_path)) == 2
    other.to_disk(tmp_path / ".rates")
    assert len(read_cells(tmp_path)) == 2


@pytest.mark.parametrize(
    ("draw", "backbone", "changed", "named"),
    [
        # Of a curve: draws that an earlier run left.
        (2, "base", {"encoder": {"name": "base", "sha256": "other"}}, "encoder"),
        (2, "base", {"data": {"train": "x", "test": "y"}}, "test"),
        (2, "base", {"precision": "bf16"}, "precision"),
        # Of a point: other settings of the head.
        (2, "base", {"training": {"epochs": 1}}, "training"),
        (2, "base", {"threshold": 0.5}, "threshold"),
        # Of a draw: another backbone that learned from other sentences.
        (1, "nuner", {"docs": [7]}, "docs"),
        (1, "nuner", {"data": {"train": "z", "test": "x"}}, "train"),
        (1, "nuner", {"data": {"train": "x", "test": "x", "only": "A"}}, "only"),
        # Of a head: another backbone that was trained longer.
        (1, "nuner", {"training": {"epochs": 1}}, "training"),
    ],
)
def test_cells_that_cannot_be_averaged(tmp_path, draw, backbone, changed, named):
    cell = make_cell("a", "base", 4, 1, 0.5)
    settings = {"data": {"train": "x", "test": "x", "dev": "d"}, "docs": [1]}
    settings |= {"training": {"epochs": 9}, "threshold": None}
    cell = replace(cell, settings={**cell.settings, **settings, "precision": "fp32"})
    cell.to_disk(tmp_path)
    # By another name, without a dev part, and other sentences in another draw.
    same = {"encoder": {"name": "x", "sha256": "base" * 8}, "docs": [5]}
    same |= {"data": {"train": "x", "test": "x"}}
    replace(cell, draw=9, settings={**cell.settings, **same}).to_disk(tmp_path)
    assert len(read_cells(tmp_path)) == 2
    own = {**cell.settings, **changed}
    replace(cell, draw=draw, backbone=backbone, settings=own).to_disk(tmp_path)
    with pytest.raises(NunerError, match=f"N629.*settings: {named}[.]"):
        read_cells(tmp_path)


@pytest.mark.parametrize("missing", ["settings", "mentions", "macro_token_f"])
def test_cells_that_lack_something(tmp_path, missing):
    make_cell("a", "base", 4, 1, 0.5).to_disk(tmp_path)
    (path,) = tmp_path.rglob("draw1.json")
    content = json.loads(path.read_text("utf8"))
    del content[missing]
    path.write_text(json.dumps(content), "utf8")
    with pytest.raises(NunerError, match=f"N631.*{missing}"):
        read_cells(tmp_path)


def test_without_matplotlib(metrics, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("plotting", "fewshot.figures"):
        monkeypatch.delitem(sys.modules, f"spacy_nuner.{name}", raising=False)
    with pytest.raises(NunerError, match=r"N006.*matplotlib.*\[fewshot\]"):
        write_report(metrics, tmp_path / "out")
    assert not (tmp_path / "out").exists()
