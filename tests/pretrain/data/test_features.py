import os
import subprocess
import sys
import weakref
from types import SimpleNamespace

import pytest
import spacy
from spacy.tokens import DocBin

from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain.data import features as features_module
from spacy_nuner.pretrain.data.features import Features, build_features
from spacy_nuner.readers.docbin import read_docbin

from ..conftest import SENTENCES, write_corpus

pytestmark = pytest.mark.slow


def write_shards(folder):
    """Shards that have some concepts in common, and one without any concept."""
    for number in range(len(SENTENCES)):
        shard = [SENTENCES[number], SENTENCES[number - 1]]
        write_corpus(folder, shard, name=f"part-{number:05}")
    DocBin(docs=[spacy.blank("en")("Nothing here.")]).to_disk(folder / "part-9.spacy")
    return folder


@pytest.fixture
def build(tmp_path, concept_encoder):
    def build(corpus, **settings):
        settings = {"max_length": 48, **settings}
        data = build_features(
            corpus, tmp_path / "features", concept_encoder=concept_encoder, **settings
        )
        return data, Features.from_folder(tmp_path / "features")

    return build


def test_features_hold_every_mention(corpus, build):
    data, built = build(corpus)
    mentions = [mention for _, mentions in SENTENCES for mention in mentions]
    names = built.concepts["name"]
    found = [names[i] for row in built.texts for i in row["concepts"]]
    assert found == [concept for _, concept, _ in mentions]
    assert data["mentions"] == len(mentions)
    assert data["sentences"] == data["windows"] == len(SENTENCES)
    assert data["concepts"] == len(set(found)) == len(names)
    assert data["top_concepts"][0] == ["city", 3]


def test_concepts_have_counts_descriptions_and_pieces(corpus, build, concept_encoder):
    _, built = build(corpus)
    rows = {row["name"]: row for row in built.concepts}
    assert rows["city"]["count"] == 3
    # The first sentence with a city describes it, the later ones do not.
    assert rows["city"]["description"] == "Large settlements"
    assert rows["film"]["description"] == ""
    decode = concept_encoder.tokenizer.decode
    described = decode(rows["city"]["described_ids"], skip_special_tokens=True)
    assert described.lower().replace(" :", ":") == "city: large settlements"
    assert rows["film"]["described_ids"] == rows["film"]["name_ids"]


def test_features_are_memory_mapped(corpus, build):
    _, built = build(corpus)
    assert built.texts.cache_files
    assert built.concepts.cache_files


def test_shards_are_read_by_name(tmp_path, build):
    for number, sentence in enumerate(SENTENCES):
        write_corpus(tmp_path / "c", [sentence], name=f"part-{number:05}")
    data, built = build(tmp_path / "c")
    assert list(data["sha256"]) == [f"part-{i:05}.spacy" for i in range(5)]
    assert built.concepts["name"][0] == "historical event"


def test_docs_without_concepts_are_counted(tmp_path, build):
    nlp = spacy.blank("en")
    folder = write_corpus(tmp_path / "c", SENTENCES)
    docs = [nlp("Nothing here."), nlp(""), nlp("  ")]
    docs[0].spans["concepts"] = []
    DocBin(docs=docs).to_disk(folder / "part-00001.spacy")
    data, built = build(folder)
    assert data["sentences"] == len(built.texts) == len(SENTENCES)
    assert data["sentences_without_concepts"] == 3


def test_corpus_without_concepts(tmp_path, build):
    DocBin(docs=[spacy.blank("en")("Nothing here.")]).to_disk(tmp_path / "a.spacy")
    with pytest.raises(NunerError, match=r"N306.* 1 docs"):
        build(tmp_path)


@pytest.mark.parametrize("make", [True, False])
def test_no_shards(tmp_path, build, make):
    folder = tmp_path / "empty"
    if make:
        folder.mkdir()
        (folder / "notes.txt").write_text("no shard")
    with pytest.raises(NunerError, match="N105"):
        build(folder)


@pytest.mark.parametrize("content", [b"", b"not a DocBin", b"\x78\x9c\x01\x02"])
def test_broken_shard(tmp_path, build, content):
    (tmp_path / "part.spacy").write_bytes(content)
    with pytest.raises(NunerError, match=r"N607.*part\.spacy"):
        build(tmp_path)


def test_cut_shard(tmp_path, corpus, build):
    whole = (corpus / "part-00000.spacy").read_bytes()
    (tmp_path / "part.spacy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NunerError, match="N607"):
        build(tmp_path)


class Canary:
    """Lives as long as the Doc that carries it."""


def test_memory_does_not_grow_with_the_corpus(tmp_path, build, monkeypatch):
    whole = write_corpus(tmp_path / "c", SENTENCES * 8)
    shard = (whole / "part-00000.spacy").read_bytes()
    for number in range(1, 12):
        (whole / f"part-{number:05}.spacy").write_bytes(shard)
    alive = weakref.WeakSet()
    most = []

    def read_and_count(path):
        for doc in read_docbin(path):
            canary = doc.user_data["canary"] = Canary()
            alive.add(canary)
            most.append(len(alive))
            yield doc

    monkeypatch.setattr(features_module, "read_docbin", read_and_count)
    monkeypatch.setattr(features_module, "ROWS_AT_ONCE", 8)
    data, built = build(whole)
    assert data["sentences"] == len(built.texts) == len(most) == 12 * 40
    # The batch at work and the one before it, which its name still holds.
    assert max(most) <= 2 * 8


def test_concepts_of_all_shards_have_common_ids(tmp_path, build):
    data, built = build(write_shards(tmp_path / "c"))
    names = built.concepts["name"]
    found = [[names[i] for i in row["concepts"]] for row in built.texts]
    order = [n for number in range(len(SENTENCES)) for n in (number, number - 1)]
    assert found == [[concept for _, concept, _ in SENTENCES[n][1]] for n in order]
    assert data["sentences_without_concepts"] == 1
    assert built.concepts["count"][list(names).index("city")] == 6
    assert not (tmp_path / "features" / "shards").exists()


@pytest.mark.weekly
def test_features_are_the_same_from_several_processes(tmp_path, concept_encoder, build):
    corpus = write_shards(tmp_path / "c")
    alone, _ = build(corpus)
    together = build_features(
        corpus,
        tmp_path / "two",
        concept_encoder=concept_encoder,
        max_length=48,
        n_process=2,
    )
    assert together == alone
    for name in ("texts.arrow", "concepts.arrow"):
        one, two = (tmp_path / folder / name for folder in ("features", "two"))
        assert one.read_bytes() == two.read_bytes()


class DeadlyTokenizer:
    """A process that unpickles it ends."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, *args, **kwargs):
        return self.tokenizer(*args, **kwargs)

    def __reduce__(self):
        return os._exit, (1,)


def test_a_process_that_died_is_reported(tmp_path, concept_encoder):
    deadly = SimpleNamespace(tokenizer=DeadlyTokenizer(concept_encoder.tokenizer))
    with pytest.raises(NunerError, match="N106"):
        build_features(
            write_shards(tmp_path / "c"),
            tmp_path / "features",
            concept_encoder=deadly,
            max_length=48,
            n_process=2,
        )


def test_features_go_on_where_they_broke_off(tmp_path, build, monkeypatch):
    corpus = write_shards(tmp_path / "c")
    read = []

    def break_off(path):
        read.append(path.name)
        if path.name == "part-00003.spacy":
            raise KeyboardInterrupt
        return read_docbin(path)

    def go_on(path):
        read.append(path.name)
        return read_docbin(path)

    monkeypatch.setattr(features_module, "read_docbin", break_off)
    with pytest.raises(KeyboardInterrupt):
        build(corpus)
    # One of the shards that were done has changed since.
    write_corpus(corpus, SENTENCES[:1], name="part-00001")
    read.clear()
    monkeypatch.setattr(features_module, "read_docbin", go_on)
    data, _ = build(corpus)
    assert read == [f"part-{i}.spacy" for i in ("00001", "00003", "00004", "9")]
    assert data["sentences"] == 2 * len(SENTENCES) - 1


def test_a_process_that_makes_features_needs_no_torch():
    code = (
        "import os, sys\n"
        "from spacy_nuner.parallel import start_worker\n"
        "start_worker()\n"
        "import spacy_nuner.pretrain.data.features\n"
        "from transformers import BertTokenizerFast\n"
        "assert not {'torch', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
