import bz2
import gzip
import json
import lzma
import warnings

import pytest
import spacy
from spacy.tokens import DocBin, Span

from spacy_nuner.corpus.convert import convert
from spacy_nuner.corpus.labelled_docs import import_docs, read_docs
from spacy_nuner.errors import NunerError


def entities(doc):
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode("utf8") if isinstance(content, str) else content)
    return path


COLUMNS = {
    "IOB2": ["O", "B-PER", "I-PER", "B-PER", "O", "B-LOC"],
    "BILUO": ["O", "B-PER", "L-PER", "U-PER", "O", "U-LOC"],
    "BIOES": ["O", "B-PER", "E-PER", "S-PER", "O", "S-LOC"],
    "IOB1": ["O", "I-PER", "I-PER", "B-PER", "O", "I-LOC"],
}


@pytest.mark.parametrize("scheme", COLUMNS)
def test_every_scheme_gives_the_same_entities(tmp_path, scheme):
    words = ["Then", "Ada", "Lovelace", "Mary", "saw", "London"]
    lines = [f"{word}\t{tag}" for word, tag in zip(words, COLUMNS[scheme], strict=True)]
    (doc,) = read_docs(write(tmp_path, "a.conll", "\n".join(lines)))
    assert [token.text for token in doc] == words
    assert entities(doc) == [(1, 3, "PER"), (3, 4, "PER"), (5, 6, "LOC")]
    assert all(token.ent_iob != 0 for token in doc), "every token is annotated"


@pytest.mark.parametrize(
    "tags, expected",
    [
        (["I-A", "I-A", "O"], [(0, 2, "A")]),
        (["B-A", "I-B", "I-B"], [(0, 1, "A"), (1, 3, "B")]),
        (["O", "I-A", "B-A"], [(1, 2, "A"), (2, 3, "A")]),
        (["A", "A", "O"], [(0, 2, "A")]),
        (
            ["art-film", "O", "person-actor"],
            [(0, 1, "art-film"), (2, 3, "person-actor")],
        ),
    ],
)
def test_broken_and_bare_tags(tmp_path, tags, expected):
    lines = [f"w{i} {tag}" for i, tag in enumerate(tags)]
    (doc,) = read_docs(write(tmp_path, "a.bio", "\n".join(lines)))
    assert entities(doc) == expected


def test_tag_first_crlf_docstart_byte_order_mark_and_extra_columns(tmp_path):
    mit = "\ufeffB-Dish\tfish\r\nI-Dish\ttacos\r\nO\there\r\n\r\n\r\nO\tok\r\n"
    first, second = read_docs(write(tmp_path, "a.conll", mit))
    assert [token.text for token in first] == ["fish", "tacos", "here"]
    assert entities(first) == [(0, 2, "Dish")]
    assert entities(second) == []
    assert all(token.ent_iob == 2 for token in second)
    conll03 = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n"
    (doc,) = read_docs(write(tmp_path, "b.conll", conll03))
    assert [token.text for token in doc] == ["EU", "rejects"]
    assert entities(doc) == [(0, 1, "ORG")]


def test_a_word_may_hold_white_space_that_is_no_separator(tmp_path):
    content = "10\u00a0km\tB-SIZE\n\u00a0\tO\nx\u2028y\tO\n"
    (doc,) = read_docs(write(tmp_path, "a.tsv", content))
    assert [token.text for token in doc] == ["10\u00a0km", "\u00a0", "x\u2028y"]
    (doc,) = read_docs(write(tmp_path, "b.conll", "10\u00a0km B-SIZE\nx O\n"))
    assert doc[0].text == "10\u00a0km"


@pytest.mark.parametrize(
    "name, content, code, fact",
    [
        ("a.csv", "a,b", "N101", "['a', 'b']"),
        ("a.conll", "a O\nb B-X\nlonely\n", "N604", "line 3"),
        ("a.conll", "a\tO\n\tB-X\n", "N604", "line 2"),
        ("a.conll", "a B-X\nb I-X\nc LOC\n", "N604", "line 3"),
        ("a.conll", "some prose\nthat is\n", "N605", "line 1"),
        ("a.conll", "a O\nb O\n", "N603", "1 sentences"),
        ("a.conll", b"caf\xe9\tO\n", "N608", "line 1: not UTF-8"),
        ("a.conll", "", "N603", "0 sentences"),
        ("a.jsonl", '{"text": "a b", "spans": []}\n{"text": "cut', "N606", "line 2"),
        ("a.jsonl", '{"text": "a b"}', "N606", "'spans'"),
        ("a.jsonl", "[1, 2]", "N606", "line 1"),
        ("a.jsonl", "7", "N606", "line 1"),
        ("a.spacy", b"no docbin", "N607", "DocBin"),
    ],
)
def test_bad_files_are_named_with_the_line(tmp_path, name, content, code, fact):
    with pytest.raises(NunerError) as caught:
        read_docs(write(tmp_path, name, content))
    assert caught.value.code == code
    assert fact in str(caught.value)


@pytest.mark.parametrize(
    "start, end, label",
    [(0, 99, "A"), (3, 3, "A"), (2, 1, "A"), (-1, 2, "A"), (3, 4, "A"), (0, 3, "")],
)
def test_a_span_that_marks_nothing_is_an_error(tmp_path, start, end, label):
    spans = [{"start": start, "end": end, "label": label}]
    line = json.dumps({"text": "the box room", "spans": spans})
    with pytest.raises(NunerError) as caught:
        read_docs(write(tmp_path, "a.jsonl", line))
    assert caught.value.code == "N606"


def test_missing_file_and_language(tmp_path):
    with pytest.raises(NunerError) as caught:
        read_docs(tmp_path / "none.jsonl")
    assert caught.value.code == "N005"
    with pytest.raises(NunerError) as caught:
        read_docs(write(tmp_path, "a.conll", "a B-X\n"), lang="qq")
    assert caught.value.code == "N010"


def test_character_spans_are_trimmed_expanded_and_never_lost(tmp_path):
    text = "the box room, £900pcm"
    spans = [
        {"start": 3, "end": 13, "label": "ROOM"},  # " box room,": the comma is a token
        {"start": 15, "end": 18, "label": "PRICE"},  # "900" inside "£900pcm"
        {"start": 8, "end": 12, "label": "AREA"},  # inside the first
    ]
    line = json.dumps({"text": text, "spans": spans})
    clean = json.dumps(
        {"text": "a room ", "spans": [{**spans[0], "start": 1, "end": 7}]}
    )
    path = write(tmp_path, "a.jsonl", f"{clean}\n\n{line}\n")
    with pytest.warns(UserWarning) as caught:
        first, second = read_docs(path)
    assert [ent.text for ent in first.ents] == ["room"]
    assert second.ents[0].text == "box room,"
    assert second.ents[1].label_ == "PRICE" and "900" in second.ents[1].text
    told = sorted(str(warning.message)[:30] for warning in caught)
    assert told == [
        "[W601] 1 spans of '" + str(path)[:11],
        "[W602] 1 spans of '" + str(path)[:11],
    ]
    assert all("line 3" in str(warning.message) for warning in caught)


def test_docbin_keeps_what_was_read(tmp_path):
    docs = read_docs(write(tmp_path, "a.conll", "Ada B-PER\nsaw O\n\nRome B-LOC\n"))
    DocBin(docs=docs).to_disk(tmp_path / "a.spacy")
    again = read_docs(tmp_path / "a.spacy")
    assert [entities(doc) for doc in again] == [entities(doc) for doc in docs]
    DocBin(docs=[spacy.blank("en")("no label here")]).to_disk(tmp_path / "b.spacy")
    with pytest.raises(NunerError) as caught:
        read_docs(tmp_path / "b.spacy")
    assert caught.value.code == "N603"


def test_docs_of_a_docbin_stay_what_is_known_of_them(tmp_path):
    nlp = spacy.blank("en")
    missing, none, spans, both = (nlp("Ada saw Rome") for _ in range(4))
    none.ents = []
    for doc in (spans, both):
        doc.spans["sc"] = [Span(doc, 2, 3, "LOC")]
    both.ents = []
    DocBin(docs=[missing, none, spans, both]).to_disk(tmp_path / "a.spacy")
    import_docs(tmp_path / "a.spacy", tmp_path / "b.spacy")
    docs = list(DocBin().from_disk(tmp_path / "b.spacy").get_docs(nlp.vocab))
    assert [doc.has_annotation("ENT_IOB") for doc in docs] == [False, True, True, True]
    assert [len(doc.ents) for doc in docs] == [0, 0, 1, 0]


def test_listings_stand_on_token_boundaries(assets):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        docs = read_docs(assets / "listings" / "train.jsonl")
    lines = (assets / "listings" / "train.jsonl").read_text("utf8").splitlines()
    assert len(docs) == len(lines)
    for doc, line in zip(docs, lines, strict=True):
        expected = [
            (s["start"], s["end"], s["label"]) for s in json.loads(line)["spans"]
        ]
        assert [(e.start_char, e.end_char, e.label_) for e in doc.ents] == expected


@pytest.mark.parametrize(
    "name, sentences, tokens, mentions",
    [
        # Counts of the data sets' own description
        ("mit-restaurant/test", 1521, 14256, 3151),
        ("btc/all-b", 2000, 30825, 1610),
        ("crossner-science/train", 200, 7100, 1075),
        ("sec-filings/test", 303, 13246, 318),
    ],
)
def test_counts_of_real_sets(data, name, sentences, tokens, mentions):
    docs = read_docs(data / f"{name}.conll")
    assert len(docs) == sentences
    assert sum(len(doc) for doc in docs) == tokens
    assert sum(len(doc.ents) for doc in docs) == mentions


def test_overlapping_spans_of_json_lines_stay_spans(tmp_path):
    spans = [
        {"start": 0, "end": 10, "label": "SCHOOL"},
        {"start": 5, "end": 10, "label": "PLACE"},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"text": "Univ Porto is old", "spans": spans}) + "\n")
    with pytest.warns(UserWarning, match="W602.*configs/concepts.cfg"):
        (doc,) = read_docs(path)
    assert [ent.label_ for ent in doc.ents] == ["SCHOOL"]
    assert [span.label_ for span in doc.spans["concepts"]] == ["SCHOOL", "PLACE"]


def test_a_list_of_objects_is_read_by_any_name(tmp_path):
    path = tmp_path / "train.jsonl"
    row = {"text": "In Bonn.", "spans": [{"start": 3, "end": 7, "label": "City"}]}
    path.write_text(json.dumps([row, row]) + "\n")
    assert [doc.ents[0].text for doc in read_docs(path)] == ["Bonn", "Bonn"]
    # A line that is a list among others is none.
    path.write_text(f"{json.dumps(row)}\n{json.dumps([row])}\n")
    with pytest.raises(NunerError, match="N606.*line 2.*a line for each"):
        read_docs(path)


FORMS = {
    "a.jsonl": [
        {"text": "In Rome.", "spans": [{"start": 3, "end": 7, "label": "City"}]}
    ],
    "b.jsonl": [{"text": "In Rome.", "answer": "Rome <> City <> a big place"}],
    "c.ndjson": [
        {
            "text": "In Rome.",
            "entities": [{"text": "Rome", "concept": "City", "start": 3, "end": 7}],
        }
    ],
    "d.json": [
        {
            "conversations": [
                {"value": "Text: In Rome."},
                {"value": "I've read it."},
                {"value": "What describes City in the text?"},
                {"value": '["Rome"]'},
            ]
        }
    ],
    "e.csv": "input,output\nIn Rome.,['Rome <> City']\n",
    "f.conll": "In O\nRome B-City\n. O\n",
    "g.txt": "In O\nRome City\n. O\n",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", [*FORMS, "h.spacy"])
def test_whatever_convert_reads_is_a_labelled_set(tmp_path, name, packed):
    content = FORMS.get(name)
    if name == "h.spacy":
        data = DocBin(docs=read_docs(write(tmp_path, "x.bio", FORMS["f.conll"])))
        content = data.to_bytes()
    elif name == "d.json":
        content = json.dumps(content)
    elif isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path = write(tmp_path, name, content)
    if packed:
        data = gzip.compress(path.read_bytes())
        path = write(tmp_path, f"{name}.gz", data)
    (doc,) = read_docs(path)
    for spans in (doc.ents, doc.spans["concepts"]):
        assert [(span.text, span.label_) for span in spans] == [("Rome", "City")]
    assert [token.text for token in doc] == ["In", "Rome", "."]
    report = convert([path], tmp_path / "corpus", progress=False)
    assert report["concepts"]["most_frequent"] == {"city": 1}
    assert report["records"]["written"] == 1


def test_what_is_not_in_the_text_is_left_out_with_a_warning(tmp_path):
    rows = [
        {"text": "In Rome.", "answer": "Rome <> city\nOslo <> city"},
        {"text": "In Bonn.", "answer": "Oslo <> city"},
        {"text": "In Bonn.", "answer": "reject", "spans": []},
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.warns(UserWarning, match="W101.*2 not in the text.*line 1") as caught:
        (doc,) = read_docs(path)
    assert [ent.text for ent in doc.ents] == ["Rome"]
    assert "1 rejected by the annotator" in str(caught[0].message)


def test_a_folder_and_a_line_of_another_set(tmp_path):
    write(tmp_path, "a.conll", "Rome B-city\n")
    write(tmp_path, "b.csv", "input,output\nIn Bonn.,['Bonn <> city'\n")
    with pytest.raises(NunerError, match=r"N608.*b\.csv', line 2: list does not parse"):
        read_docs(tmp_path)
    write(tmp_path, "b.csv", "input,output\nIn Bonn.,['Bonn <> city']\n")
    assert [doc.ents[0].text for doc in read_docs(tmp_path)] == ["Rome", "Bonn"]


def test_what_import_could_not_use_is_not_read_as_a_set(tmp_path):
    rows = '{"text": "In Bonn.", "answer": "Bonn <> city"}\nbroken\n'
    output = tmp_path / "out" / "train.spacy"
    import_docs(write(tmp_path, "train.jsonl", rows), output)
    assert (output.parent / "train.quarantine.jsonl").exists()
    (output.parent / "deep.csv").mkdir()
    assert [doc.ents[0].text for doc in read_docs(output.parent)] == ["Bonn"]


@pytest.mark.parametrize("pack", [gzip, bz2, lzma])
def test_what_convert_reads_is_read(tmp_path, pack):
    """Compressed, with a byte order mark, by another suffix, and as a folder."""
    row = b'{"text": "In Bonn.", "answer": "Bonn <> city"}'
    folder = tmp_path / "set"
    folder.mkdir()
    suffix = {gzip: ".gz", bz2: ".bz2", lzma: ".xz"}[pack]
    contents = {
        "a.jsonl": b"\xef\xbb\xbf" + row + b"\n",
        "b.NDJSON": row,
        "c.json": b"[" + row + b"]",
        "d.csv": b"input,output\r\nIn Bonn.,['Bonn <> city']\r\n",
        "e.iob2": b"In O\nBonn B-city\n",
    }
    for name, content in contents.items():
        (folder / f"{name}{suffix}").write_bytes(pack.compress(content))
    import_docs(folder / f"a.jsonl{suffix}", tmp_path / "f.spacy")
    docbin = (tmp_path / "f.spacy").read_bytes()
    (folder / f"f.spacy{suffix}").write_bytes(pack.compress(docbin))
    for path in [*folder.iterdir(), folder]:
        found = [(e.text, e.label_) for doc in read_docs(path) for e in doc.ents]
        assert found == [("Bonn", "city")] * (6 if path == folder else 1)
