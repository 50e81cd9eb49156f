"""Texts of files and servers, made safe to print and to put into Markdown."""

import html
import logging
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from spacy_nuner.errors import Errors, NunerError
from spacy_nuner.printing import (
    code_block,
    code_span,
    escape_markdown,
    make_logs_printable,
    printable,
    shorten,
)

# Everything that Python can hold, lone surrogates too, and often what is dangerous.
ANY = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs"]),
        st.sampled_from("|`*_[]()<>&$\\~#\n\t\r\x1b\u202e "),
    ),
    max_size=60,
)
ORDINARY = [
    "Zoë, naïve, Ćwikła",
    "e\u0301 combining, ก็ and क्षि",
    "北京市 東京 서울",
    "עברית \u200fوعربية\u200e می\u200cخواهم",
    "👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 🏴\U000e0067\U000e0062\U000e007f",
    "no\u00a0break, soft\u00adhyphen, \u3000wide",
    r"C:\new\table 100% $5 a_b",
]


def is_safe(text, lines=""):
    text.encode("utf8")
    return not any(
        (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in lines)
        or "\u202a" <= c <= "\u202e"
        or "\u2066" <= c <= "\u2069"
        for c in text
    )


@given(ANY)
def test_nothing_acts_on_a_terminal(text):
    assert is_safe(printable(text))
    assert is_safe(printable(text, lines=True), "\t\n")
    assert printable(printable(text)) == printable(text)
    assert len(shorten(text, 20)) <= 20


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"])))
def test_ordinary_text_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize("text", ORDINARY)
def test_text_of_any_language_stays(text):
    assert printable(text) == text


def test_what_is_escaped_can_be_told_apart():
    text = "\x1b[31mred\r\n\x9bm\x7f\x00\u202e\ud83d\tx"
    shown = r"\x1b[31mred\r\n\x9bm\x7f\x00\u202e\ud83d\tx"
    assert printable(text) == shown
    assert printable("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@given(ANY)
def test_fields_of_errors_are_printable(text):
    assert is_safe(str(NunerError(Errors.N003, path=text, reason="x")))


def test_fields_keep_their_formats():
    error = NunerError(Errors.N301, problems="a\nb {x} %s")
    assert str(error).startswith(r"[N301] The config can't be used: a\nb {x} %s.")


# What a reader sees of Markdown, by a parser that GitHub's rules are in.


def read(text):
    parser = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    return parser.render(text)


def seen(text):
    """A text as HTML shows it: runs of blanks are one."""
    return " ".join(text.split())


@given(ANY)
def test_a_cell_of_a_table_is_one_cell(text):
    table = f"| a | b |\n|---|---|\n| {escape_markdown(text)} | end |\n"
    cells = re.findall("<td>(.*?)</td>", read(table), re.S)
    assert len(cells) == 2
    assert cells[1] == "end"
    # No element is in it, and it reads as the text does.
    assert "<" not in cells[0]
    assert seen(html.unescape(cells[0])) == seen(printable(text))


@given(ANY)
def test_a_heading_shows_the_text(text):
    shown = read(f"### of {escape_markdown(text)}: F1\n")
    found = re.fullmatch("<h3>(.*)</h3>\n", shown, re.S)
    assert "<" not in found[1]
    assert seen(html.unescape(found[1])) == seen(f"of {printable(text)}: F1")


@given(ANY)
def test_a_code_span_shows_the_text(text):
    shown = read(f"# On {code_span(text)} here\n")
    found = re.fullmatch("<h1>On <code>(.*)</code> here</h1>\n", shown, re.S)
    assert seen(html.unescape(found[1])) == seen(printable(text))


@given(ANY)
def test_a_code_block_ends_where_it_should(text):
    shown = read(f"{code_block(text, 'bash')}\n\nafter\n")
    assert shown.endswith("</code></pre>\n<p>after</p>\n")
    assert shown.count("<pre>") == 1


@pytest.mark.parametrize("name", ["mit_restaurant", "nuner-ner", "C++", "1. FC"])
def test_plain_names_stay_readable_in_markdown(name):
    assert escape_markdown(name) == name


def test_what_libraries_log_is_printable(capsys):
    handler = logging.StreamHandler()
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        make_logs_printable()
        make_logs_printable()
        assert len(handler.filters) == 1
        try:
            raise ValueError("a\x1b[31mb")
        except ValueError:
            logging.getLogger("library").exception("of %s", "c\x1b]0;d")
    finally:
        logger.removeHandler(handler)
    printed = capsys.readouterr().err
    assert "\x1b" not in printed
    assert "a\\x1b[31mb" in printed and "of c\\x1b]0;d" in printed
