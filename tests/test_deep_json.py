"""JSON that is nested so deep that Python's reader gives up."""

import pytest

from spacy_nuner.annotate.accounting import load_price
from spacy_nuner.encoders.folder import read_info
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot.results import Cell
from spacy_nuner.pipeline.labels import read_labels
from spacy_nuner.stats.counts import count_corpus

from .pretrain.conftest import SENTENCES, write_corpus


def count(path):
    write_corpus(path.parent, SENTENCES)
    return count_corpus(path.parent, progress=False)


READERS = {
    "nuner.json": ("N303", lambda path: read_info(path.parent)),
    "prices.json": ("N220", lambda path: load_price(path, "m")),
    "labels.json": ("N511", read_labels),
    "draw0.json": ("N631", Cell.from_disk),
    "report.json": ("N635", count),
}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
@pytest.mark.parametrize("name", READERS)
def test_it_is_an_error_with_a_number(name, text, tmp_path):
    code, read = READERS[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(NunerError, match=f"{code}.*{name}"):
        read(tmp_path / name)


def test_labels_with_a_number_that_json_does_not_have(tmp_path):
    (tmp_path / "labels.json").write_text('{"area": 1e999}')
    with pytest.raises(NunerError, match="N511.*Infinity"):
        read_labels(tmp_path / "labels.json")
