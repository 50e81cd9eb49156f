"""spaCy's own check of training data reads what `convert` wrote."""

import json

import pytest
from spacy.cli.debug_data import debug_data
from spacy.cli.init_config import init_config

from spacy_nuner.corpus.convert import convert
from spacy_nuner.readers.answers import parse_answer

pytestmark = pytest.mark.slow


# Few, since spaCy prints tables of all of them.
CONCEPTS = {"year", "date", "duration", "city", "percentage"}


@pytest.fixture(scope="module")
def corpora(assets, tmp_path_factory):
    """Two corpora, whose folders hold their reports too."""
    folder = tmp_path_factory.mktemp("corpora")
    reports = {}
    for name, part in (("train", "news-law-finance"), ("dev", "everyday-life")):
        lines = (assets / "annotations" / f"{part}.jsonl").read_text("utf8")
        rows = [json.loads(line) for line in lines.splitlines()[:250]]
        for row in rows:
            items = parse_answer(row.pop("answer"), text=row["text"]).entities
            row["entities"] = [
                item._asdict() for item in items if item.concept.lower() in CONCEPTS
            ]
        path = folder / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), "utf8")
        reports[name] = convert([path], folder / name, shard_size=100, progress=False)
    return folder, reports


def test_a_spancat_on_the_concepts(corpora, tmp_path, capsys):
    folder, reports = corpora
    config = init_config(lang="en", pipeline=["spancat"], optimize="efficiency")
    config["components"]["spancat"]["spans_key"] = "concepts"
    config["training"]["score_weights"] = {"spans_concepts_f": 1.0}
    config["paths"] = {name: str(folder / name) for name in ("train", "dev")} | {
        "vectors": None,
        "init_tok2vec": None,
    }
    config.to_disk(tmp_path / "spancat.cfg")
    capsys.readouterr()
    # It exits with 1 where something is wrong with the data.
    debug_data(tmp_path / "spancat.cfg", silent=False, no_format=True, verbose=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "Corpus is loadable" in said
    assert len(reports["train"]["shards"]) == 3
    for name, what in (("train", "training"), ("dev", "evaluation")):
        assert f"{reports[name]['records']['written']} {what} docs" in said
    counts = reports["train"]["concepts"]
    assert counts["distinct"] == len(CONCEPTS)
    assert all(f"'{name}'" in said for name in CONCEPTS)
    assert "0 errors" in said or "error" not in said.rpartition("Summary")[2]
