"""A backbone of random weights, which finds something everywhere."""

import json

import pytest

from ..conftest import ROOT
from ..util import make_tiny_backbone

LABELS = ["AREA", "PRICE", "ROOM"]


def read_rows(part="train", count=None):
    path = ROOT / "assets" / "listings" / f"{part}.jsonl"
    rows = [json.loads(line) for line in path.open(encoding="utf8")]
    return rows[:count]


def write_rows(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf8")
    return path


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("labelling")
    return str(make_tiny_backbone(folder, [row["text"] for row in read_rows()]))


@pytest.fixture(scope="session")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.json"
    path.write_text(json.dumps(LABELS))
    return path
