"""Records -> shards: what is written, what is told of the rest."""

import bz2
import gc
import gzip
import json
import lzma
import sys
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_nuner.concept_names import MAX_NAME
from spacy_nuner.corpus import shards
from spacy_nuner.corpus.align import TOO_OFTEN
from spacy_nuner.corpus.convert import convert
from spacy_nuner.corpus.row_to_doc import ConvertSettings
from spacy_nuner.errors import NunerError
from spacy_nuner.readers.answers import UNFINISHED
from spacy_nuner.readers.docbin import read_corpus


def write(path, *rows):
    lines = (
        row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows
    )
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def row(text, *annotations, **more):
    return {"text": text, "answer": "\n".join(annotations), **more}


def run(path, tmp_path, shard_size=50_000, **settings):
    output = tmp_path / "corpus"
    report = convert(
        [path],
        output,
        settings=ConvertSettings(**settings),
        shard_size=shard_size,
        progress=False,
    )
    check_sums(report)
    assert json.loads((output / "report.json").read_text(encoding="utf8")) == report
    return report


def check_sums(report):
    """Nothing vanishes: what was read is either kept or told."""
    records, annotations = report["records"], report["annotations"]
    gone = [*records["quarantined"].values(), *records["dropped"].values()]
    assert records["read"] == records["written"] + sum(gone)
    kept = sum(annotations["matched"].values())
    assert annotations["read"] == kept + sum(annotations["lost"].values())
    assert records["written"] == sum(shard["docs"] for shard in report["shards"])


def docs(tmp_path):
    vocab = spacy.blank("en").vocab
    for path in sorted((tmp_path / "corpus").glob("*.spacy")):
        yield from DocBin().from_disk(path).get_docs(vocab)


def spans(tmp_path):
    return [
        (doc.text, [(span.text, span.label_) for span in doc.spans["concepts"]])
        for doc in docs(tmp_path)
    ]


def quarantine(tmp_path):
    text = (tmp_path / "corpus" / "quarantine.jsonl").read_text(encoding="utf8")
    return [json.loads(line) for line in text.splitlines()]


def test_docs_hold_the_contract(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        row(
            "Lisbon and Porto and Lisbon.",
            "Lisbon <> City <> A big place",
            "Lisbon <> “capital” <> Seat of a government",
            "porto <> City <> Another text",
            "Lisbon and Porto <> places",
        ),
    )
    run(path, tmp_path)
    (doc,) = docs(tmp_path)
    assert list(doc.spans) == ["concepts"]
    group = doc.spans["concepts"]
    assert [(span.start, span.end, span.label_) for span in group] == [
        (0, 1, "city"),
        (4, 5, "city"),
        (0, 1, "capital"),
        (4, 5, "capital"),
        (2, 3, "city"),
        (0, 3, "places"),
    ]
    assert group.attrs == {
        "descriptions": {"city": "A big place", "capital": "Seat of a government"}
    }


def test_the_filter_of_the_paper_and_its_setting(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        row("Love in Rome.", "Love <> Concept", "Rome <> city"),
        row("Rome again.", "Rome <> city", "again <> entity type"),
    )
    report = run(path, tmp_path)
    assert spans(tmp_path) == [("Rome again.", [("Rome", "city")])]
    assert report["records"]["dropped"] == {"refused concept in the sentence": 1}
    assert report["annotations"]["lost"] == {
        "refused concept in the sentence": 2,
        "empty type": 1,
    }
    run(path, tmp_path, refused=frozenset())
    assert [found for _, found in spans(tmp_path)] == [[("Rome", "city")]] * 2
    run(path, tmp_path, refused=frozenset(), empty_types=frozenset())
    assert [found for _, found in spans(tmp_path)] == [
        [("Love", "concept"), ("Rome", "city")],
        [("Rome", "city"), ("again", "entity type")],
    ]


def test_every_loss_of_an_annotation_is_told(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        row(
            "In Lisbon.",
            *("Lisbon <> city", "lisbon <> City", "Porto <> city", "In <> object"),
            *("In <> --", f"In <> {'x' * MAX_NAME}", f"In <> {'x' * MAX_NAME}y"),
            *("nothing", "In <>"),
            id="s-7",
        ),
    )
    report = run(path, tmp_path)
    assert report["annotations"]["lost"] == {
        "repeated": 1,
        "not in the text": 1,
        "empty type": 1,
        "concept without letters": 1,
        "concept too long": 1,
    }
    lines = {"no separator": 1, "empty concept": 1}
    assert report["annotations"]["unreadable_lines"] == lines
    assert len(spans(tmp_path)[0][1]) == 2
    # What follows from the settings needs nobody's eye.
    told = quarantine(tmp_path)
    place = {"file": str(path), "line": 1, "id": "s-7"}
    assert all(place.items() <= one.items() for one in told)
    assert [one["reason"] for one in told] == [
        *("no separator", "empty concept", "concept without letters"),
        *("concept too long", "not in the text"),
    ]
    assert told[4]["annotation"] == "Porto <> city"


def test_sentences_without_annotations(tmp_path):
    """Kept where the source says that there are none, else dropped."""
    path = write(
        tmp_path / "a.jsonl",
        {"text": "Nothing here.", "entities": []},
        {"text": "Nor here.", "entities": [{"text": "Porto", "concept": "city"}]},
        {"text": "Nor here.", "entities": ["Porto"]},
        row("Nor here.", "Porto <> city"),
    )
    report = run(path, tmp_path)
    assert spans(tmp_path) == [("Nothing here.", [])]
    assert report["records"]["dropped"] == {"no annotation left": 3}


BAD = [
    (b'{"text": "In Rome.", "answer": "Rome, city, big"}', "no annotation in the"),
    (b'{"text": "In Rome.", "answer": ""}', "empty answer"),
    (b'{"text": "In Rome.", "answer": "Rome <> ci', "malformed JSON"),
    (b'{"text": "' + b"x" * 1_000_000 + b'", "answer": "x <> y"}', "row too long"),
    (b'{"text": "In \0 Rome.", "answer": "Rome <> city"}', "NUL byte"),
    ('{"text": "Café.", "answer": "Café <> bar"}'.encode("latin-1"), "not UTF-8"),
    ('{"text": "Café.", "answer": "Café <> bar"}'.encode("utf-16-le"), "NUL byte"),
    (b'{"text": "Half \\ud83d", "answer": "Half <> x"}', "half a surrogate pair"),
]


def test_bad_rows_are_quarantined_and_the_rest_goes_through(tmp_path):
    good = row("In Lisbon.", "Lisbon <> city")
    rows = [good]
    for content, _ in BAD:
        rows += [content, good]
    report = run(write(tmp_path / "a.jsonl", *rows), tmp_path)
    assert report["records"]["written"] == len(BAD) + 1
    assert report["records"]["read"] == 2 * len(BAD) + 1
    told = quarantine(tmp_path)
    assert [one["line"] for one in told] == list(range(2, 2 * len(BAD) + 1, 2))
    for one, (_, reason) in zip(told, BAD, strict=True):
        assert one["reason"].startswith(reason)
        assert 0 < len(one["row"]) <= 500
    assert sum(report["records"]["quarantined"].values()) == len(BAD)


def test_bad_rows_of_a_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"input,output\n"
        b"In Rome.,['Rome <> city']\n"
        b"\"In\nRome.\",['Rome <> city'\n"
        b"caf\xe9,['caf\xe9 <> bar']\n"
        b"\"In \nRome.\",\"['Rome <> city', 'Porto <> city']\"\n"
    )
    report = run(path, tmp_path)
    assert report["records"]["written"] == 2
    assert [(one["line"], one["reason"]) for one in quarantine(tmp_path)] == [
        (3, "list does not parse"),
        (5, "not UTF-8"),
        (6, "not in the text"),
    ]


@pytest.mark.parametrize(
    "rows", [[content for content, _ in BAD], [b""], [row("In Rome.", "Porto <> city")]]
)
def test_nothing_usable_is_an_error_and_leaves_nothing(tmp_path, rows):
    path = write(tmp_path / "a.jsonl", *rows)
    with pytest.raises(NunerError, match=r"N102.*a\.jsonl") as info:
        run(path, tmp_path)
    if rows[0] == BAD[0][0]:
        assert "a.jsonl, line 1: no separator" in str(info.value)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.jsonl"]


def test_shards(tmp_path):
    rows = [row(f"Room {n} in Lisbon.", "Lisbon <> city", "x") for n in range(25)]
    # A shard is made of so many rows; what can't be used leaves it smaller.
    rows[10:10] = [b"broken"] * 10
    rows[5] = b"broken"
    report = run(write(tmp_path / "a.jsonl", *rows), tmp_path, shard_size=10)
    assert [(one["file"], one["docs"]) for one in report["shards"]] == [
        ("00000.spacy", 9),
        ("00002.spacy", 10),
        ("00003.spacy", 5),
    ]
    texts = [doc.text for doc in docs(tmp_path)]
    assert texts == [f"Room {n} in Lisbon." for n in range(25) if n != 5]
    assert [one["line"] for one in quarantine(tmp_path)][4:16] == [
        *(5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
    ]
    # A full last shard leaves no empty one behind, and old shards go.
    path = write(tmp_path / "a.jsonl", *rows[:10])
    report = run(path, tmp_path, shard_size=10)
    assert len(report["shards"]) == 1
    assert len(list((tmp_path / "corpus").glob("*.spacy"))) == 1


def test_a_shard_of_long_rows_is_bounded_by_their_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_CHUNK_BYTES", 1000)
    rows = [row(f"Room {n} in Lisbon.", "Lisbon <> city") for n in range(30)]
    path = write(tmp_path / "a.jsonl", *rows)
    report = run(path, tmp_path)
    assert len(report["shards"]) == -(-path.stat().st_size // 1000)
    assert len(list(docs(tmp_path))) == 30


def test_the_same_input_gives_the_same_bytes(tmp_path):
    rows = [row(f"Room {n} in Lisbon.", "Lisbon <> city <> big") for n in range(5)]
    path = write(tmp_path / "a.jsonl", *rows)
    first = run(path, tmp_path)
    content = (tmp_path / "corpus" / "00000.spacy").read_bytes()
    assert run(path, tmp_path) == first
    assert (tmp_path / "corpus" / "00000.spacy").read_bytes() == content


def test_the_report_names_inputs_and_settings(tmp_path):
    path = write(tmp_path / "a.jsonl", row("In Lisbon.", "Lisbon <> city"))
    report = run(path, tmp_path, lang="xx", occurrences="first")
    assert report["inputs"][0]["bytes"] == path.stat().st_size
    assert len(report["inputs"][0]["sha256"]) == 64
    assert report["settings"]["lang"] == "xx"
    assert report["settings"]["occurrences"] == "first"
    assert report["settings"]["refused"] == ["concept"]
    assert report["concepts"]["most_frequent"] == {"city": 1}


def test_occurrences_reach_the_aligner(tmp_path):
    path = write(tmp_path / "a.jsonl", row("a b, a b, A b", "a b <> x", "a b <> x"))
    counts = {}
    for occurrences in ("all", "first", "in_order"):
        report = run(path, tmp_path, occurrences=occurrences)
        counts[occurrences] = (
            report["annotations"]["spans"],
            report["annotations"]["lost"].get("repeated", 0),
        )
    assert counts == {"all": (2, 1), "first": (1, 1), "in_order": (2, 0)}


def test_unknown_language(tmp_path):
    path = write(tmp_path / "a.jsonl", row("In Lisbon.", "Lisbon <> city"))
    with pytest.raises(NunerError, match="N010.*'qq'"):
        run(path, tmp_path, lang="qq")


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    path = write(tmp_path / "a.jsonl", row("In Lisbon.", "Lisbon <> city"))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "thesis.txt").write_text("mine")
    with pytest.raises(NunerError, match="N004"):
        run(path, tmp_path)
    assert (tmp_path / "corpus" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("failing", ["00000.spacy", "00000.json"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, failing):
    rows = [row(f"Room {n} in Lisbon.", "Lisbon <> city") for n in range(25)]
    path = write(tmp_path / "a.jsonl", *rows)
    run(path, tmp_path)
    before = sorted((tmp_path / "corpus").iterdir())
    real = Path.open

    def full(self, mode="r", *more, **named):
        if mode == "wb" and self.name.startswith(failing):
            raise OSError(28, "No space left on device")
        return real(self, mode, *more, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(NunerError, match="N003.*No space left"):
        run(path, tmp_path, shard_size=10)
    assert sorted((tmp_path / "corpus").iterdir()) == before
    left = [one.name for one in tmp_path.iterdir()]
    assert ("corpus.work" in left) == (failing == "00000.json")


@pytest.mark.weekly
def test_a_tokenizer_is_not_kept_longer_than_a_shard(tmp_path, monkeypatch):
    """Its vocabulary grows with the words of the shard."""

    def count_vocabularies():
        gc.collect()
        return sum(type(one) is Vocab for one in gc.get_objects())

    counts, real = [], DocBin.to_bytes

    def to_bytes(self):
        counts.append(count_vocabularies())
        return real(self)

    before = count_vocabularies()
    monkeypatch.setattr(DocBin, "to_bytes", to_bytes)
    rows = [row(f"Room {n} in Lisbon.", "Lisbon <> city") for n in range(30)]
    run(write(tmp_path / "a.jsonl", *rows), tmp_path, shard_size=10)
    assert counts == [before + 1] * 3


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", [*PACKERS, ".zst"])
def test_compressed_input(tmp_path, suffix):
    rows = [row(f"Room {n} in Lisbon.", "Lisbon <> city") for n in range(5)]
    plain = write(tmp_path / "a.jsonl", *rows)
    if suffix == ".zst":
        name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        pack = pytest.importorskip(name).compress
    else:
        pack = PACKERS[suffix]
    packed = tmp_path / "b" / f"a.jsonl{suffix}"
    packed.parent.mkdir()
    packed.write_bytes(pack(plain.read_bytes()))
    run(plain, tmp_path)
    content = (tmp_path / "corpus" / "00000.spacy").read_bytes()
    for source in (packed, packed.parent):
        report = run(source, tmp_path)
        assert report["inputs"][0]["bytes"] == packed.stat().st_size
        assert (tmp_path / "corpus" / "00000.spacy").read_bytes() == content


def test_a_damaged_archive_is_an_error(tmp_path):
    rows = [row(f"Room {n} in Lisbon.", f"Lisbon <> city {n}") for n in range(500)]
    plain = write(tmp_path / "a.jsonl", *rows).read_bytes()
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(plain)[:-500])
    with pytest.raises(NunerError, match=r"N109.*a\.jsonl\.gz"):
        run(packed, tmp_path)
    assert not (tmp_path / "corpus").exists()
    assert not (tmp_path / "corpus.work").exists()


def test_a_corpus_can_be_converted_again(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        row("In Lisbon. In Lisbon!", "Lisbon <> city <> big", "In <> x"),
        {"text": "Nothing.", "entities": []},
    )
    run(path, tmp_path)
    before = spans(tmp_path)
    shard = (tmp_path / "corpus" / "00000.spacy").rename(tmp_path / "again.spacy")
    report = run(shard, tmp_path)
    assert spans(tmp_path) == before
    assert report["annotations"]["matched"]["given offsets"] == 4
    (first, _) = docs(tmp_path)
    assert first.spans["concepts"].attrs == {"descriptions": {"city": "big"}}


def test_a_definition_stands_for_a_missing_name(tmp_path):
    definition = "A city, or another place, where a great many people live together"
    entity = {"text": "Lisbon", "concept": None, "description": f"{definition}."}
    path = write(tmp_path / "a.jsonl", {"text": "In Lisbon.", "entities": [entity]})
    run(path, tmp_path)
    assert len(definition) > MAX_NAME
    assert spans(tmp_path) == [("In Lisbon.", [("Lisbon", definition.lower())])]


def test_spans_of_nothing_are_told_and_the_corpus_can_be_read(tmp_path):
    text = "Ana  Lima \u200b left"
    offsets = [(3, 5), (4, 5), (0, -1), (2, 2), (10, 11), (9, 12), (0, 99), (-4, -1)]
    odd = [("0", "3"), (0.0, 3.0), (True, 3), (None, 3), (1 << 70, 1 << 71)]
    odd.append((float("nan"), 3))
    rows = [
        {"text": text, "entities": [entity, entity | {"start": 0, "end": 3}]}
        for start, end in [*offsets, *odd]
        for entity in [{"text": "Ana", "concept": "person", "start": start, "end": end}]
    ]
    for row in rows[: len(offsets)]:
        entity = row["entities"][0]
        entity["text"] = text[entity["start"] : entity["end"]]
    report = run(write(tmp_path / "a.jsonl", *rows), tmp_path)
    annotations = report["annotations"]
    assert report["records"]["written"] == len(rows)
    assert annotations["spans"] == len(rows)
    losses = annotations["lost"], annotations["unreadable_lines"]
    assert sum(sum(kinds.values()) for kinds in losses) == len(rows)
    for doc in read_corpus(tmp_path / "corpus"):
        assert [span.text for span in doc.spans["concepts"]] == ["Ana"]


def test_one_letter_repeated_is_bounded_and_told(tmp_path):
    # A concept a line: without a bound there were 20 million spans.
    lines = [f"a <> concept number {number}" for number in range(2000)]
    rows = [
        {"text": "a " * 9000, "answer": "\n".join(lines)},
        {"text": "a" * 80_000, "answer": "\n".join(lines)},
        {"text": "Ana left", "answer": "Ana <> person"},
    ]
    report = run(write(tmp_path / "a.jsonl", *rows), tmp_path)
    assert report["annotations"]["lost"] == {TOO_OFTEN: 3999}
    assert report["annotations"]["spans"] == 9001
    assert report["records"]["written"] == 2
    assert {one["reason"] for one in quarantine(tmp_path)} == {TOO_OFTEN}


def test_thoughts_and_marks_of_raw_answers(tmp_path):
    answer = "<think>\nAna <> pilot\n</think>\n1. **Ana**, <> Concept: person <> x"
    cut = "<think>\nAna <> pilot <> she"
    rows = [{"text": "Ana left", "answer": one} for one in (answer, cut)]
    report = run(write(tmp_path / "a.jsonl", *rows), tmp_path)
    assert report["concepts"]["most_frequent"] == {"person": 1}
    assert report["records"]["quarantined"] == {"no annotation in the answer": 1}
    assert quarantine(tmp_path)[0]["detail"] == UNFINISHED


@pytest.mark.parametrize(("limit", "texts"), [(2, 4), (3, 5), (0, 5)])
def test_the_first_rows_of_each_source(tmp_path, limit, texts):
    sources = [
        write(
            tmp_path / f"{name}.jsonl",
            *(row(f"{n} in {name}.", f"{name} <> city") for n in range(count)),
        )
        for name, count in (("Lisbon", 3), ("Porto", 2))
    ]
    output = tmp_path / "corpus"
    report = convert(sources, output, limit=limit, progress=False)
    check_sums(report)
    assert report["settings"]["limit"] == limit
    assert len(list(read_corpus(output))) == report["records"]["read"] == texts
