from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise

import pytest
import srsly
from spacy.tokens import Doc
from transformers import AutoTokenizer

from spacy_nuner.encoders.batching import batch_by_length
from spacy_nuner.encoders.names import resolve_weights
from spacy_nuner.models.windows import (
    MAX_PADDING,
    align_pieces,
    cut_windows,
    get_pieces,
)
from tests.conftest import MINILM
from tests.tiny import make_tiny

from .conftest import TEXTS


@pytest.fixture()
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny)


def pieces_of(align, token):
    return align[token].dataXd.ravel().tolist()


@pytest.mark.parametrize("text", TEXTS)
def test_each_token_stands_on_the_pieces_that_overlap_it(nlp, tokenizer, text):
    doc = nlp(text)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    # Other docs beside it change nothing.
    empty = nlp(" ")
    both = align_pieces([empty, doc, empty], [[(0, 0)], offsets, [(0, 0)]])
    for i, token in enumerate(doc):
        found = pieces_of(both[1], i)
        overlapping = [
            piece
            for piece, (a, b) in enumerate(offsets)
            if a < token.idx + len(token) and b > token.idx
        ]
        if overlapping:
            assert found == overlapping
        else:
            assert len(found) == 1


def test_tokens_without_pieces_share_the_one_before(nlp, tokenizer):
    doc = Doc(nlp.vocab, words=["new", "\n\n", "bed", "\u200d"])
    pieces = get_pieces(tokenizer, [doc])[0]
    assert pieces.align.lengths.min() == 1
    found = [pieces_of(pieces.align, i) for i in range(4)]
    assert found[1] == found[0][-1:]


def test_doc_of_white_space_has_one_unknown_piece(nlp, tokenizer):
    pieces = get_pieces(tokenizer, [nlp(" \n ")])[0]
    assert pieces.strings == ["[UNK]"]


def test_several_threads_share_a_tokenizer(nlp, tokenizer):
    """As in a server that hands its requests to a pool of threads."""
    docs = [nlp("a bed in Leyton " * 50)] * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: get_pieces(tokenizer, docs), range(60)))
    assert all(one[0].strings == found[0][0].strings for one in found)


def test_special_tokens_in_a_text_are_text(nlp, tokenizer):
    pieces = get_pieces(tokenizer, [nlp("a [SEP] b")])[0]
    assert tokenizer.sep_token_id not in pieces.ids


@pytest.mark.parametrize("size,stride", [(10, 10), (10, 7), (10, 1), (3, 2)])
@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 11, 19, 20, 21, 100])
def test_windows_keep_each_piece_once_and_see_context(count, size, stride):
    windows = cut_windows([count], [[]], size=size, stride=stride)
    kept = [i for w in windows for i in range(w.keep_start, w.keep_end)]
    assert kept == list(range(count))
    for w in windows:
        assert w.start <= w.keep_start < w.keep_end <= w.end
        assert w.end - w.start <= size
    if len(windows) > 1:
        assert {w.end - w.start for w in windows} == {size}


def test_windows_of_several_docs():
    windows = cut_windows([3, 12, 1], [[], [], []], size=5, stride=4)
    assert [w.doc for w in windows] == [0, 1, 1, 1, 2]


def test_no_window_reaches_over_the_end_of_a_sentence():
    windows = cut_windows([12, 3], [[3, 4], [2]], size=5, stride=4)
    assert [(w.doc, w.start, w.end) for w in windows] == [
        (0, 0, 3),
        (0, 3, 4),
        (0, 4, 9),
        (0, 7, 12),
        (1, 0, 2),
        (1, 2, 3),
    ]
    kept = [i for w in windows for i in range(w.keep_start, w.keep_end)]
    assert kept == [*range(12), *range(3)]


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-r", "deberta-v3"])
def test_sentences_begin_at_the_piece_of_their_first_letter(tmp_path, nlp, name):
    """Whether pieces hold the blank in front of them, and line ends are pieces."""
    texts = ["Zoë left.  She 👩‍👩‍👧 cried!\n\n Why?  \n\n", "one", " \n a"]
    folder = make_tiny(name, tmp_path / name, texts)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    docs = [nlp(text) for text in texts]
    found = get_pieces(tokenizer, docs)
    assert [len(pieces.sentences) for pieces in found] == [2, 0, 0]
    encoded = tokenizer(texts[0], add_special_tokens=False, return_offsets_mapping=True)
    starts = [encoded["offset_mapping"][i][0] for i in found[0].sentences]
    parts = [texts[0][a:b].strip() for a, b in pairwise([0, *starts, None])]
    assert parts == ["Zoë left.", "She 👩‍👩‍👧 cried!", "Why?"]


@pytest.mark.parametrize("name", ["ewt-train", "c4"])
@pytest.mark.parametrize("batch_size", [256, 1000])
def test_padding_of_real_text_is_under_a_tenth(nlp, data, name, batch_size):
    # As many as our configs and spaCy's default put into a batch.
    rows = islice(srsly.read_jsonl(data / "raw-text" / f"{name}.jsonl"), 2000)
    docs = [nlp.make_doc(row["text"]) for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(resolve_weights(MINILM))
    counts = [len(pieces.ids) for pieces in get_pieces(tokenizer, docs)]
    pieces = padded = unsorted = 0
    for start in range(0, len(docs), batch_size):
        chosen = counts[start : start + batch_size]
        windows = cut_windows(chosen, [[]] * len(chosen), size=510, stride=382)
        lengths = [w.end - w.start + 2 for w in windows]
        pieces += sum(lengths)
        for batch in batch_by_length(lengths, max_size=2048, max_padding=MAX_PADDING):
            size = max(lengths[i] for i in batch) * len(batch)
            assert size <= 2048
            padded += size
        for i in range(0, len(lengths), 64):
            unsorted += max(lengths[i : i + 64]) * len(lengths[i : i + 64])
    assert 1 - pieces / padded < 0.1
    # In the order of the texts more than half of it is padding.
    assert pieces / unsorted < 0.5
