"""Keys are masked: whole, in pieces, and in the forms in which servers repeat them."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spacy_nuner import masking
from spacy_nuner.masking import find_secret, hide, mask, mask_texts, mask_url

KEY = "sk-test-0123456789abcdef-SECRET"
KEYS = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-",
    min_size=20,
    max_size=170,
)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    for name in masking._find_variables():
        monkeypatch.delenv(name, raising=False)
    masking._find_variables.cache_clear()
    monkeypatch.setattr(masking, "_hidden", {KEY})
    yield
    masking._find_variables.cache_clear()


def test_a_key_of_any_service(monkeypatch):
    monkeypatch.setattr(masking, "_hidden", set())
    assert mask(KEY) == KEY
    monkeypatch.setenv("AZURE_API_KEY", KEY)
    masking._find_variables.cache_clear()
    assert mask(f"key {KEY}") == "key ***"


def test_json_stays_json():
    hide("12345678", "token-abc123")
    data = {"prompt_tokens": 12345678, "said": ["of 12345678", {"x": None}]}
    assert mask_texts(data) == {
        "prompt_tokens": 12345678,
        "said": ["of ***", {"x": None}],
    }


FORMS = {
    "whole": KEY,
    "upper case": KEY.upper(),
    "in a header": f"Authorization: Bearer {KEY}",
    "in an address": f"https://host/v1?key={KEY}&x=1",
    "broken between two lines": f"{KEY[:15]}\n    {KEY[15:]}",
    "spaced": " ".join(KEY),
    "with soft hyphens": "\u00ad".join(KEY),
    "the first half": f"{KEY[:16]}...",
    "the second half": f"...{KEY[16:]}",
    "cut": KEY[:-3],
    "percent-encoded": quote(KEY).replace("-", "%2D"),
    "percent-encoded, every letter": "".join(f"%{ord(c):02x}" for c in KEY),
    "escaped for JSON": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "in JSON in JSON": json.dumps(json.dumps(f'"{KEY[:9]}\n{KEY[9:]}"')),
    "in bytes": repr(f"{KEY[:9]}\r{KEY[9:]}".encode()),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 after a user": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "base64 after no user": base64.b64encode(f":{KEY}".encode()).decode(),
    "hexadecimal": KEY.encode().hex(),
}


def get_pieces(form, size):
    return {form[i : i + size].lower() for i in range(len(form) - size + 1)}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    shown = mask(f"The server said: bad key {FORMS[form]} for this model")
    assert shown.startswith("The server said: bad key ")
    assert shown.endswith(" for this model")
    assert "***" in shown
    # Four characters a side may stay of what is written as one or several each.
    left = shown.removeprefix("The server said: bad key ").partition(" for ")[0]
    left = left.replace("***", " ")
    for secret in (KEY, FORMS["base64"], FORMS["hexadecimal"]):
        assert not get_pieces("".join(left.split()), 8) & get_pieces(secret, 8)


def test_how_servers_name_a_key_stays():
    said = "Incorrect API key provided: sk-***CRET. You can find it at https://x"
    assert mask(said) == said


@pytest.mark.parametrize(
    "text",
    ["", "Ana Lima left Porto.", "secret of testing: 0123", "100% \\o/ \\x \\u12 %zz"],
)
def test_other_texts_stay(text):
    assert mask(text) == text


@given(KEYS, st.text(), st.text(), st.data())
def test_no_long_piece_of_a_key_is_readable(secret, before, after, data):
    masking._hidden = {secret}
    start = data.draw(st.integers(0, len(secret) - 10))
    piece = secret[start : data.draw(st.integers(start + 10, len(secret)))]
    filler = data.draw(st.sampled_from(["", "\n", " ", "\r\n  ", "\\n"]))
    middle = len(piece) // 2
    shown = mask(before + piece[:middle] + filler + piece[middle:] + after)
    assert not get_pieces(shown, 8) & get_pieces(secret, 8)
    assert mask(shown) == shown


@given(KEYS, st.text(max_size=40))
def test_what_holds_no_piece_stays(secret, text):
    masking._hidden = {secret}
    assume(not get_pieces(text, 5) & get_pieces(secret, 5))
    assume("%" not in text and "\\" not in text)
    flat = "".join(c for c in text if c.isprintable() and c != " ")
    assume(not get_pieces(flat, 5) & get_pieces(secret, 5))
    assert mask(text) == text


def test_the_environment(monkeypatch):
    masking._hidden = set()
    assert mask(KEY) == KEY
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY[:10]} {KEY[10:]}\n")
    monkeypatch.setenv("HF_TOKEN", "hf_ABCDEFGHIJKLMNOP")
    assert not masking.VARIABLES.search("SOME_TOKENIZER")
    assert mask(f"{KEY} and hf_ABCDEFGHIJKLMNOP") == "*** and ***"
    # Pieces of what is made of words are words of any sentence.
    monkeypatch.setenv("OPENAI_API_KEY", "sk-no-key-required")
    text = "field 'max_tokens' is required"
    assert mask(text) == text and mask("a sk-no-key-required b") == "a *** b"
    # What local servers get for a key is in any text.
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    assert mask("1 EMPTY, 2 empty") == "1 EMPTY, 2 empty"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("https://me:hunter2pass@host/v1", "https://***@host/v1"),
        ("https://tok_0123456789@host/v1", "https://***@host/v1"),
        ("https://me:pw@host/v1", "https://***@host/v1"),
        (
            "https://h/v1?api-version=2024-10-21&api-key=hunter2pass#x",
            "https://h/v1?api-version=2024-10-21&api-key=***#x",
        ),
        ("http://[::1/v1", "http://[::1/v1"),
        ("", ""),
    ],
)
def test_addresses(url, shown):
    assert mask_url(url) == shown
    # From then on in any text, decoded or not.
    for secret in ("hunter2pass", "tok_0123456789"):
        if secret in url:
            assert mask(f"no {secret}.") == "no ***."


def test_a_password_with_escapes():
    assert mask_url("https://me:p%40ss%2Fword9@h/v1") == "https://***@h/v1"
    assert mask("p@ss/word9, p%40ss%2Fword9") == "***, ***"


def test_a_short_piece_stays_in_answers():
    assert mask("01234567 <> number", shortest=12) == "01234567 <> number"
    assert mask(f"{KEY} <> key", shortest=12) == "*** <> key"
    hide("tenletters")
    assert mask("tenletters", shortest=12) == "***"


def test_fields_of_json():
    assert find_secret({"a": [{"x": "y"}], "max_tokens": 3, "seed": 0}) is None
    assert find_secret({"a": [{"api_key": "x"}]}) == "api_key"
    assert find_secret({"headers": {"Authorization": "Bearer x"}}) == "Authorization"
    assert find_secret({"note": f"is {KEY}"}) == "note"
    assert find_secret([KEY]) == ""


def test_a_megabyte_is_no_problem():
    text = "Lisbon <> city <> a large one\n" * 35_000
    assert mask(text) == text
    assert mask(text + KEY) == text + "***"
