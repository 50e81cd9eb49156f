"""Every message of `errors.py`: raised with its fields, caused by a test, in order."""

import ast
import pickle
import re
from collections.abc import Iterator
from string import Formatter

import pytest

from spacy_nuner.errors import Errors, Message, NunerError, Warnings

from .conftest import ROOT

NUMBERS = {
    name: found
    for owner in (Errors, Warnings)
    for name, found in vars(owner).items()
    if isinstance(found, Message)
}


def fields_of(text: str) -> set[str]:
    # "{scores[before]:.1f}" needs the field "scores".
    named = (name for _, name, _, _ in Formatter().parse(text) if name)
    return {re.split(r"[.\[]", name)[0] for name in named}


def find_uses() -> Iterator[tuple[str, str, set[str | None]]]:
    """Yield where a message is filled in, its number and the names of its fields."""
    for path in sorted((ROOT / "spacy_nuner").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if not isinstance(node, ast.Call):
                continue
            template = node.args[0] if node.args else None
            if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
                template = node.func.value
            owner = getattr(getattr(template, "value", None), "id", "")
            if isinstance(template, ast.Attribute) and owner in ("Errors", "Warnings"):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield place, template.attr, {word.arg for word in node.keywords}


def test_each_use_fills_the_fields_of_its_message():
    wrong = []
    for place, number, given in find_uses():
        wanted = fields_of(NUMBERS[number].text)
        # None stands for **fields, whose names are known at run time alone.
        fits = given - {None} <= wanted if None in given else given == wanted
        if not fits:
            wrong.append(f"{place}: {number} has {wanted}, is given {given}")
    assert not wrong, "\n".join(wrong)


def test_each_message_is_used():
    source = "\n".join(
        path.read_text("utf8")
        for path in (ROOT / "spacy_nuner").rglob("*.py")
        if path.name != "errors.py"
    )
    used = set(re.findall(r"(?:Errors|Warnings)\.([NW]\d{3})", source))
    assert used == set(NUMBERS)


def test_each_message_is_caused_by_a_test():
    tests = "\n".join(path.read_text("utf8") for path in (ROOT / "tests").rglob("*.py"))
    missing = [number for number in NUMBERS if number not in tests]
    assert not missing, f"no test names {', '.join(missing)}"


@pytest.mark.parametrize("owner", [Errors, Warnings])
def test_numbers_stand_in_order(owner):
    numbers = [name for name in vars(owner) if re.fullmatch(r"[NW]\d{3}", name)]
    assert numbers == sorted(numbers)
    assert all(NUMBERS[number].code == number for number in numbers)


def test_an_error_goes_through_pickle():
    error = NunerError(Errors.N105, path="a")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) and str(copy).startswith("[N105] ")
    assert copy.code == "N105" and copy.fields == {"path": "a"}
