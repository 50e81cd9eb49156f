"""The recipes of docs/scale.md for Ray and Spark, as they stand there."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import spacy
from pyarrow import parquet

from spacy_nuner.corpus.convert import convert

from ..docs.blocks import read_pages
from .conftest import contents

pytestmark = pytest.mark.slow


def run_recipe(name, folder):
    (block,) = [one for one in read_pages()["docs/scale.md"] if one.needs == (name,)]
    (folder / "recipe.py").write_text(block.text, encoding="utf8")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": ""}
    # Spark's own choice would be the first Python of the path.
    environment["PYSPARK_PYTHON"] = sys.executable
    done = subprocess.run(
        [sys.executable, "recipe.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_ray_runs_the_commands(tmp_path, assets):
    pytest.importorskip("ray", reason="needs spacy-nuner[ray]")
    source = assets / "annotations" / "arts-media.jsonl"
    (tmp_path / "answers.jsonl").write_bytes(source.read_bytes())
    run_recipe("ray", tmp_path)
    convert([tmp_path / "answers.jsonl"], tmp_path / "whole", progress=False)
    merged, whole = contents(tmp_path / "corpus-ray"), contents(tmp_path / "whole")
    for found in (merged, whole):
        # The report names the input as it was given.
        report = json.loads(found.pop("report.json"))
        assert report["records"]["written"]
        del found[".spacy_nuner.json"]
    assert merged == whole


def test_spark_tags_in_partitions(tmp_path):
    pytest.importorskip("pyspark", reason="needs pyspark")
    if shutil.which("java") is None:
        pytest.skip("pyspark needs Java")
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "AREA", "pattern": "Hackney"}])
    nlp.to_disk(tmp_path / "my_pipeline")
    rows = [{"id": n, "text": f"Flat {n} in Hackney"} for n in range(50)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "train.jsonl").write_text(lines)
    run_recipe("spark", tmp_path)
    found = parquet.read_table(tmp_path / "tagged-spark").to_pylist()
    assert sorted(int(row["id"]) for row in found) == list(range(50))
    assert {one["text"] for row in found for one in row["entities"]} == {"Hackney"}
    assert all(len(row["entities"]) == 1 and row["spans"] == [] for row in found)
