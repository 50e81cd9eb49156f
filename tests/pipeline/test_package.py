"""`spacy package`: a wheel of a pipeline installs in a clean environment and runs."""

import sys

import pytest
import srsly
from spacy.cli.package import package

from ..environment import make_environment, run
from .conftest import SENTENCES, make_examples, make_nlp, spans_of, train

pytestmark = pytest.mark.slow


pytest.importorskip("build")


def test_a_packaged_pipeline_installs_and_runs(tiny, tmp_path):
    nlp = make_nlp(tiny, lang="en")
    train(nlp, make_examples(nlp, spans_key="concepts"))
    nlp.meta["name"], nlp.meta["version"] = "flats", "1.2.3"
    nlp.to_disk(tmp_path / "model")
    expected = [spans_of(nlp(text)) for text, _ in SENTENCES]
    package(tmp_path / "model", tmp_path, create_sdist=False)
    made = tmp_path / "en_flats-1.2.3"
    # What `--build wheel` runs, but with the setuptools that stand here.
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", cwd=made)
    wheel = made / "dist" / "en_flats-1.2.3-py3-none-any.whl"
    assert wheel.is_file()
    python = make_environment(tmp_path / "env")
    # With its requirements, which must be met by what stands here.
    install = ("pip", "--python", python, "install", "--no-index", "--quiet", wheel)
    run(sys.executable, "-m", *install)
    meta = srsly.read_json(made / "en_flats" / "meta.json")
    assert any(part.startswith("spacy-nuner>=") for part in meta["requirements"])
    code = (
        "import en_flats, sys\n"
        "assert 'spacy_nuner' not in sys.modules\n"
        "nlp = en_flats.load()\n"
        f"texts = {[text for text, _ in SENTENCES]!r}\n"
        "docs = list(nlp.pipe(texts))\n"
        "print([[(s.text, s.label_) for s in d.spans['concepts']] for d in docs])\n"
    )
    # Outside of the checkout, so that the package is the installed one.
    assert run(python, "-c", code, cwd=tmp_path).strip() == str(expected)
