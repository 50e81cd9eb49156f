"""configs/concepts.cfg trains concepts that overlap, and spaCy's commands take it."""

from itertools import islice

import pytest
import spacy
from spacy.cli.debug_config import debug_config
from spacy.cli.debug_data import debug_data
from spacy.cli.init_config import fill_config
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_loop
from spacy.util import filter_spans, load_config

from ..conftest import ROOT
from .conftest import spans_of

pytestmark = pytest.mark.slow


CONFIG = ROOT / "configs" / "concepts.cfg"
# A place inside the name of another thing, and two concepts for one span.
ROWS = [
    ("the University of Leyton opens", [(4, 24, "SCHOOL"), (18, 24, "AREA")]),
    ("she lives in Leyton now", [(13, 19, "AREA")]),
    ("Hackney Central , 900 a month", [(0, 15, "STATION"), (0, 7, "AREA")]),
    ("a room for 900 a month", [(11, 22, "PRICE"), (11, 14, "AMOUNT")]),
    ("nothing here", []),
]
TOLD = {"SCHOOL": "where one learns", "AREA": "a part of a town"}


@pytest.fixture()
def files(tmp_path):
    nlp = spacy.blank("en")
    docs = []
    for text, spans in ROWS:
        doc = nlp.make_doc(text)
        found = [doc.char_span(start, end, label) for start, end, label in spans]
        assert None not in found
        doc.spans["concepts"] = found
        doc.spans["concepts"].attrs["descriptions"] = TOLD
        docs.append(doc)
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    return tmp_path


def overrides_of(files, backbone, **more):
    data = str(files / "train.spacy")
    return {"paths.train": data, "paths.dev": data, "paths.backbone": backbone, **more}


@pytest.mark.parametrize("tuned", [False, True])
def test_overlapping_concepts_are_learned(files, backbone, tuned):
    more = {
        "training.max_steps": 300,
        "training.optimizer.learn_rate.total_steps": 300,
        "training.eval_frequency": 300,
        "training.optimizer.learn_rate.initial_rate": 0.05,
        "training.dropout": 0.0,
        "training.logger.progress_bar": None,
    }
    if tuned:
        more["components.transformer.model.freeze_layers"] = 0
        more["components.transformer.model.learn_rate_scale"] = 0.05
    config = load_config(CONFIG, overrides_of(files, backbone, **more))
    nlp = init_nlp(config)
    shim = nlp.get_pipe("transformer").model.shims[0]
    before = {n: w.detach().clone() for n, w in shim.encoder.named_parameters()}
    (files / "out").mkdir()
    nlp, _ = train_loop(nlp, files / "out")
    after = dict(shim.encoder.named_parameters())
    assert any(not w.equal(before[n]) for n, w in after.items()) == tuned
    again = spacy.load(files / "out" / "model-last")
    pipe = again.get_pipe("nuner_concepts")
    assert pipe.label_data["SCHOOL"] == TOLD["SCHOOL"]
    assert pipe.label_data["PRICE"] is None
    steps = more["training.max_steps"]
    rates = list(islice(again.resume_training().schedules["learn_rate"], steps + 1))
    assert max(rates) == pytest.approx(0.05) and rates[-1] == 0.0 < rates[steps // 2]
    for text, spans in ROWS:
        found = sorted(spans_of(again(text)))
        assert found == sorted(spans_of(nlp(text)))
        assert not again(text).ents
        # Vectors of a tiny random encoder hold too little for a linear head alone.
        if tuned:
            assert found == sorted((text[a:b], c) for a, b, c in spans)
    if not tuned:
        examples = list(Corpus(files / "train.spacy")(again))
        assert again.evaluate(examples)["spans_concepts_f"] > 0.4


def test_debug_data_takes_the_config(files, backbone, capsys):
    with pytest.raises(SystemExit):
        debug_data(CONFIG, config_overrides=overrides_of(files, backbone), silent=False)
    printed = capsys.readouterr().out
    assert "Pipeline can be initialized with data" in printed
    assert "Corpus is loadable" in printed
    # The only error is that five sentences are few.
    assert "Low number of examples" in printed and "1 error" in printed


@pytest.mark.parametrize("name", ["ner", "ner_frozen", "ner_parser", "concepts"])
def test_the_configs_are_complete_and_valid(files, backbone, name, capsys):
    path = ROOT / "configs" / f"{name}.cfg"
    shipped, filled = fill_config(files / "filled.cfg", path, silent=True)
    # Nothing is missing in it and nothing is left that has no meaning.
    assert filled == {**shipped, "pretraining": {}}
    debug_config(path, overrides=overrides_of(files, backbone))
    assert "Config is valid" in capsys.readouterr().out
    steps = filled["training"]["max_steps"]
    assert filled["training"]["optimizer"]["learn_rate"]["total_steps"] == steps
    assert filled["paths"]["backbone"] == "default"


def test_debug_data_takes_a_config_with_entities(files, backbone, capsys):
    nlp = spacy.blank("en")
    docs = list(DocBin().from_disk(files / "train.spacy").get_docs(nlp.vocab))
    for doc in docs:
        doc.set_ents(filter_spans(doc.spans["concepts"]))
    DocBin(docs=docs).to_disk(files / "train.spacy")
    overrides = overrides_of(files, backbone)
    with pytest.raises(SystemExit):
        debug_data(
            ROOT / "configs" / "ner.cfg", config_overrides=overrides, silent=False
        )
    printed = capsys.readouterr().out
    assert "Pipeline can be initialized with data" in printed
    assert "Low number of examples" in printed and "1 error" in printed
