"""Chinese, Japanese, Arabic, German and Hindi go the whole way, in one corpus."""

import json
from collections import Counter

import numpy as np
import pytest
import spacy
from typer.testing import CliRunner

from spacy_nuner.cli.app import app
from spacy_nuner.encoders.folder import read_info
from spacy_nuner.readers.docbin import read_corpus
from spacy_nuner.tokenizers import blank

from .conftest import ROOT
from .tiny import make_tiny

pytestmark = pytest.mark.slow


# Text and answer of the blog's prompt: concepts and descriptions are in English.
TEXTS = {
    "zh": [
        ("张伟于2019年在北京大学学习计算机科学。", ["张伟", "2019年", "北京大学"]),
        ("华为和iPhone15在上海发布。", ["华为", "iPhone15", "上海"]),
        ("他喜欢四川的麻婆豆腐，也喜欢龙井茶。", ["四川", "麻婆豆腐", "龙井茶"]),
    ],
    "ja": [
        ("黒澤明は1950年に『羅生門』を監督した。", ["黒澤明", "1950年", "羅生門"]),
        ("東京タワーは港区にある。", ["東京タワー", "港区"]),
        ("トヨタ・プリウスを買った佐々木さん。", ["トヨタ・プリウス", "佐々木さん"]),
    ],
    "ar": [
        ("وُلد نجيب محفوظ في القاهرة عام 1911.", ["نجيب محفوظ", "القاهرة", "1911"]),
        ("يشرب أهل المغرب الشاي بالنعناع.", ["أهل المغرب", "الشاي بالنعناع"]),
    ],
    "de": [
        (
            "Die Straße des 17. Juni führt durch Berlin.",
            ["Straße des 17. Juni", "Berlin"],
        ),
        ("Käthe Kollwitz zeichnete in Königsberg.", ["Käthe Kollwitz", "Königsberg"]),
    ],
    "hi": [
        ("राम दिल्ली में हिन्दी पढ़ाता है।", ["राम", "दिल्ली", "हिन्दी"]),
        ("गंगा हिमालय से निकलती है।", ["गंगा", "हिमालय"]),
    ],
}
# Scripts without blanks between words.
UNSPACED = ("zh", "ja")


def records(lang):
    for number, (text, mentions) in enumerate(TEXTS[lang]):
        lines = [f"{m} -|- thing {len(m)} -|- Things of a kind" for m in mentions]
        yield {"id": f"{lang}-{number}", "text": text, "answer": "\n".join(lines)}


def mentions_of(docs):
    return Counter(span.text for doc in docs for span in doc.spans["concepts"])


def run(*args):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output


def convert(folder, name, lang, rows):
    answers = folder / f"{name}.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    answers.write_text("".join(lines), encoding="utf8")
    run("convert", answers, folder / name, "--lang", lang)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("languages")


@pytest.fixture(scope="module")
def corpus(folder):
    rows = [row for lang in TEXTS for row in records(lang)]
    return convert(folder, "corpus", "xx", rows)


@pytest.fixture(scope="module", params=["xlm-r", "roberta", "mbert"])
def backbone(request, folder, corpus):
    """SentencePiece-like, byte-level and WordPiece: the kinds that encoders have."""
    texts = [text for rows in TEXTS.values() for text, _ in rows]
    base = make_tiny(request.param, folder / request.param, texts)
    out = folder / f"{request.param}-backbone"
    run(
        *("pretrain", ROOT / "configs" / "pretrain_multilingual.cfg", out),
        *("--paths.corpus", corpus, "--paths.base", base),
        *("--features.max_length", 64, "--training.epochs", 2),
    )
    return out


@pytest.mark.parametrize("lang", TEXTS)
def test_every_mention_is_found_as_it_is(tmp_path, lang):
    rows = list(records(lang))
    expected = Counter(mention for _, mentions in TEXTS[lang] for mention in mentions)
    assert mentions_of(read_corpus(convert(tmp_path, "xx", "xx", rows))) == expected
    if lang != "ja":
        # Japanese of its own wants SudachiPy. In spaCy's Arabic "1911." is one token.
        own = mentions_of(read_corpus(convert(tmp_path, lang, lang, rows)))
        assert sum(own.values()) == sum(expected.values())
        assert own == expected or lang == "ar"


def test_names_of_concepts_are_english(corpus):
    docs = list(read_corpus(corpus))
    assert len(docs) == sum(map(len, TEXTS.values()))
    names = {span.label_ for doc in docs for span in doc.spans["concepts"]}
    assert all(name.startswith("thing ") for name in names)
    described = [doc.spans["concepts"].attrs["descriptions"] for doc in docs]
    assert all(set(d.values()) == {"Things of a kind"} for d in described)


def test_no_mention_is_lost_or_cut(backbone):
    data = read_info(backbone).data
    count = sum(len(mentions) for rows in TEXTS.values() for _, mentions in rows)
    held_out = data["mentions_without_pieces"] + data["mentions_cut"]
    assert (data["mentions"], held_out) == (count, 0)
    assert data["sentences"] == sum(map(len, TEXTS.values()))


def test_concepts_in_every_language(backbone, tmp_path):
    nlp = blank("xx")
    settings = {"backbone": str(backbone), "labels": ["thing 2", "city"]}
    pipe = nlp.add_pipe("nuner_concepts", config=settings)
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    for rows in TEXTS.values():
        for text, mentions in rows:
            doc = again(text)
            assert doc.text == text
            scores = pipe.predict([doc])[0]
            assert len(scores) == len(doc)
            # Each mention is a stretch of tokens, so a span can have its offsets.
            for mention in mentions:
                start = text.index(mention)
                span = doc.char_span(start, start + len(mention))
                assert span is not None, (mention, [token.text for token in doc])


@pytest.mark.parametrize("lang", TEXTS)
def test_spans_have_the_offsets_of_their_text(backbone, lang):
    nlp = blank("xx")
    config = {"backbone": str(backbone), "labels": ["thing 2"]}
    pipe = nlp.add_pipe("nuner_concepts", config=config)
    for text, _ in TEXTS[lang]:
        doc = nlp.make_doc(text)
        logits = pipe.predict([doc])[0]
        # Some tokens are surely over the middle, the others surely under it.
        pipe.set_annotations([doc], [1000 * (logits - np.median(logits))])
        spans = doc.spans["concepts"]
        assert len(spans)
        assert all(text[s.start_char : s.end_char] == s.text for s in spans)
        assert any(s.text != text for s in spans)
