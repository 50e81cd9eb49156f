import pytest

from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.pretrain.data.pieces import (
    AnnotatedText,
    Mention,
    Windower,
    cut,
    sentence_ends,
)

from ..conftest import SENTENCES


@pytest.fixture
def tokenizer(base):
    return load_encoder(base)[0]


def annotate(text, mentions):
    spans = [
        Mention(text.index(mention), text.index(mention) + len(mention), index)
        for index, (mention, *_) in enumerate(mentions)
    ]
    return AnnotatedText(text, spans)


@pytest.mark.parametrize(("text", "mentions"), SENTENCES)
def test_pieces_of_a_mention_spell_the_mention(tokenizer, text, mentions):
    windower = Windower(tokenizer, 60)
    (row,) = windower([annotate(text, mentions)])
    assert row["length"] == len(row["input_ids"])
    assert len(row["starts"]) == len(mentions)
    for start, end, concept in zip(
        row["starts"], row["ends"], row["concepts"], strict=True
    ):
        mention = mentions[concept][0]
        pieces = row["input_ids"][start:end]
        # Cut alone, the mention gives the same pieces, but for the blank that
        # byte-level pieces carry in front.
        options = [
            tokenizer(before + mention, add_special_tokens=False)["input_ids"]
            for before in ("", " ")
        ]
        assert pieces in options, tokenizer.convert_ids_to_tokens(pieces)


def test_special_pieces_in_a_text_are_text(roberta):
    tokenizer, _ = load_encoder(roberta)
    text, mentions = SENTENCES[3]
    (row,) = Windower(tokenizer, 60)([annotate(text, mentions)])
    specials = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    assert not specials & set(row["input_ids"][1:-1])
    assert {row["input_ids"][0], row["input_ids"][-1]} == specials


def test_long_text_loses_nothing(tokenizer):
    words = [f"Nara {i} in Japan" for i in range(60)]
    text = ", ".join(words)
    spans, at = [], 0
    for number, word in enumerate(words):
        spans.append(Mention(at, at + len(word), number))
        at += len(word) + 2
    windower = Windower(tokenizer, 40)
    rows = list(windower([AnnotatedText(text, spans)]))
    assert windower.counts.texts_cut == 1
    assert windower.counts.windows == len(rows) > 2
    assert all(len(row["input_ids"]) <= 40 for row in rows)
    assert [c for row in rows for c in row["concepts"]] == list(range(60))
    assert windower.counts.mentions == 60
    assert windower.counts.mentions_cut == 0
    whole = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert [i for row in rows for i in row["input_ids"][1:-1]] == whole


def test_a_mention_longer_than_a_window_goes_on_and_is_counted(tokenizer):
    text = "Japan Nara " * 40
    windower = Windower(tokenizer, 20)
    rows = list(windower([AnnotatedText(text, [Mention(0, len(text) - 1, 7)])]))
    assert len(rows) > 2
    assert all(row["concepts"] == [7] for row in rows)
    assert all(row["starts"] == [1] for row in rows)
    assert windower.counts.mentions == 1
    assert windower.counts.mentions_cut == len(rows) - 1


def test_windows_without_concepts_are_left_out_and_counted(tokenizer):
    text = "Nara " + "and Kyoto " * 60
    windower = Windower(tokenizer, 20)
    (row,) = windower([AnnotatedText(text, [Mention(0, 4, 0)])])
    assert row["starts"] == [1]
    assert windower.counts.windows == 1
    assert windower.counts.windows_without_concepts > 2


def test_a_mention_without_word_pieces_is_counted(tokenizer):
    windower = Windower(tokenizer, 20)
    text = AnnotatedText("a \u0000 b", [Mention(0, 1, 0), Mention(5, 5, 1)])
    (row,) = windower([text])
    assert row["concepts"] == [0]
    assert windower.counts.mentions_without_pieces == 1


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_a_text_of_nothing_gives_no_row(tokenizer, text):
    windower = Windower(tokenizer, 20)
    spans = [Mention(0, len(text), 0)] if text == "" else []
    assert list(windower([AnnotatedText(text, spans)])) == []


def test_cut_prefers_words_to_pieces_and_mentions_to_words():
    # Words of two pieces; a limit of 3 falls into the second word.
    words = [0, 0, 1, 1, 2, 2]
    assert cut(6, 3, [], words, []) == [(0, 2), (2, 4), (4, 6)]
    # A mention over the border of all words leaves only the places inside words.
    assert cut(6, 3, [Mention(1, 3, 0), Mention(3, 5, 0)], words, []) == [
        (0, 3),
        (3, 6),
    ]


def test_cut_prefers_the_last_end_of_a_sentence_in_the_second_half():
    words = list(range(10))
    assert cut(10, 6, [], words, [2, 4, 5]) == [(0, 5), (5, 10)]
    # An end in the first half would make windows of a few pieces.
    assert cut(10, 6, [], words, [2]) == [(0, 6), (6, 10)]
    # A sentence that seems to end inside a mention does not ("Dr. No").
    assert cut(10, 6, [Mention(3, 6, 0)], words, [5]) == [(0, 6), (6, 10)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nara is in Japan. Kyoto too.", ["Nara is in Japan."]),
        ("Nara is in Japan . Kyoto too .", ["Nara is in Japan ."]),
        (
            'He said "Nara!" and left? (No.) Yes',
            ['He said "Nara!"', " and left?", " (No.)"],
        ),
        ("Nara in 3.5 hours", []),
        ("Nara", []),
        ("", []),
    ],
)
def test_sentence_ends_lie_behind_their_punctuation(tokenizer, text, expected):
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    cuts = [0, *(offsets[place - 1][1] for place in sentence_ends(text, offsets))]
    found = [text[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    assert found == expected
