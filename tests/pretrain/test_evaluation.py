import json
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModel

from spacy_nuner.encoders.concept_encoder import ConceptEncoder
from spacy_nuner.encoders.folder import read_info
from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.errors import NunerError
from spacy_nuner.pretrain import evaluation, trainer
from spacy_nuner.pretrain.corpus_vectors import encode_rows
from spacy_nuner.pretrain.data.batches import Collator
from spacy_nuner.pretrain.data.features import Features, build_features
from spacy_nuner.pretrain.evaluation import average_precision, hold_out
from spacy_nuner.pretrain.model import (
    ContrastiveModel,
    Similarity,
    dense_targets,
    sigmoid_cross_entropy,
)
from spacy_nuner.pretrain.run import pretrain

from .conftest import SENTENCES, write_corpus

pytestmark = pytest.mark.slow


@pytest.fixture
def make_features(tmp_path, bert):
    tokenizer, encoder = load_encoder(bert)
    concepts = ConceptEncoder(
        encoder,
        tokenizer,
        pooling="mean",
        template="{name}: {description}",
        max_length=24,
    )

    def make(name, sentences, max_length=60):
        corpus = write_corpus(tmp_path / name / "corpus", sentences)
        folder = tmp_path / name / "features"
        build_features(corpus, folder, concept_encoder=concepts, max_length=max_length)
        return Features.from_folder(folder)

    make.tokenizer = tokenizer
    return make


def numbered(count):
    return [(f"{i} people live in Nara.", [("Nara", "city", "")]) for i in range(count)]


def rows_of(features):
    return set(features.texts["text_hash"])


def test_a_text_is_held_out_whatever_stands_beside_it(make_features):
    share = 0.2
    train, held_out = hold_out(make_features("a", numbered(300)), share)
    assert len(train.texts) + len(held_out.texts) == 300
    assert 40 <= len(held_out.texts) <= 80
    more = [*SENTENCES, *numbered(300)[::-1], *numbered(100)]
    train_of_more, held_out_of_more = hold_out(make_features("b", more), share)
    assert rows_of(held_out) <= rows_of(held_out_of_more)
    assert not rows_of(train_of_more) & rows_of(held_out_of_more)
    # A larger share holds out what a smaller one does, and more.
    _, half = hold_out(make_features("c", numbered(300)), 0.5)
    assert rows_of(held_out) < rows_of(half)


def test_parts_of_a_long_text_are_on_one_side(make_features):
    sentences = [
        (" ".join(f"{i} people live in Nara and {j} in Łódź." for j in range(9)), i)
        for i in range(20)
    ]
    # A mention from start to end, so that every part has one.
    whole = [(text, [(text, "city", "")]) for text, _ in sentences]
    features = make_features("long", whole, max_length=40)
    assert len(features.texts) > 40
    train, held_out = hold_out(features, 0.5)
    sides = [set(part.texts["text_hash"]) for part in (train, held_out)]
    assert len(sides[0]) + len(sides[1]) == 20
    assert not sides[0] & sides[1]


def test_what_is_measured_is_bounded(make_features, monkeypatch):
    features = make_features("a", numbered(200))
    train, every = hold_out(features, 0.5)
    monkeypatch.setattr(evaluation, "MOST_MEASURED", 7)
    again, some = hold_out(features, 0.5)
    # What is not measured is held out all the same.
    assert rows_of(again) == rows_of(train)
    assert rows_of(some) == set(sorted(rows_of(every))[:7])


def test_no_share(make_features):
    features = make_features("a", SENTENCES)
    train, held_out = hold_out(features, 0.0)
    assert len(train.texts) == len(features.texts)
    assert len(held_out.texts) == 0


def test_nothing_left_to_learn_from(make_features):
    with pytest.raises(NunerError, match=r"N315.*0\.999"):
        hold_out(make_features("a", SENTENCES[:1]), 0.999)


class Oracle(torch.nn.Module):
    """Stands for a model; its logits depend on whether a piece is "nara"."""

    def __init__(self, tokenizer, logits):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.concept_encoder = SimpleNamespace(tokenizer=tokenizer)
        self.logits = logits
        self.batches = []

    def encode(self, *, input_ids, is_text, concept_ids, **batch):
        self.batches.append(input_ids)
        return input_ids[is_text], concept_ids

    def similarity(self, pieces, concepts):
        (nara,) = self.concept_encoder.tokenizer("Nara", add_special_tokens=False)[
            "input_ids"
        ]
        return self.logits((pieces == nara).float())[:, None].expand(-1, len(concepts))


def test_average_precision(make_features):
    features = make_features("a", numbered(400))
    tokenizer = make_features.tokenizer
    perfect = Oracle(tokenizer, lambda is_nara: is_nara)
    assert average_precision(perfect, features) == 1.0
    # Several batches, each text in one of them.
    assert len(perfect.batches) > 1
    assert sum(map(len, perfect.batches)) == 400
    assert all(ids.numel() <= 2048 for ids in perfect.batches)
    pieces = sum(row - 2 for row in features.texts["length"])
    by_chance = average_precision(Oracle(tokenizer, torch.zeros_like), features)
    assert by_chance == pytest.approx(400 / pieces)
    wrong = average_precision(Oracle(tokenizer, torch.neg), features)
    assert wrong < 2 * by_chance


def test_the_pairs_are_those_of_the_loss(make_features, bert):
    features = make_features("a", SENTENCES)
    tokenizer, text_encoder = load_encoder(bert)
    concepts = ConceptEncoder(
        load_encoder(bert)[1], tokenizer, pooling="mean", template="", max_length=24
    )
    similarity = Similarity(scale=1.5, bias=-2.0)
    model = ContrastiveModel(
        text_encoder, concepts, similarity, sigmoid_cross_entropy, frozen_layers=1
    )
    rows = list(range(len(SENTENCES)))
    (encoded,) = encode_rows(model, features, [rows], description_dropout=0.5)
    assert not model.training
    pieces, vectors, positives = encoded
    batch = Collator(features.concepts, tokenizer, description_dropout=0.5)(
        list(features.texts)
    )
    with torch.no_grad():
        expected = model(**batch)["loss"]
    by_hand = 1.5 * pieces @ vectors.T / pieces.shape[1] ** 0.5 - 2
    loss = sigmoid_cross_entropy(by_hand, dense_targets(positives, *by_hand.shape))
    assert 0.1 < loss < 10
    torch.testing.assert_close(loss, expected)


def test_without_scikit_learn(make_features, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    features = make_features("a", SENTENCES)
    with pytest.raises(NunerError, match=r"N006.*scikit-learn.*\[pretrain\]"):
        average_precision(Oracle(make_features.tokenizer, torch.neg), features)


@pytest.fixture
def make_evaluated(tmp_path, bert, make_config):
    """Ten steps, evaluated at every third."""
    copies = [(f"{text} {i}", mentions) for text, mentions in SENTENCES for i in "1234"]
    corpus = write_corpus(tmp_path / "corpus", copies)

    def make(**overrides):
        settings = {
            "training__epochs": 1,
            "evaluation__every_steps": 3,
            "evaluation__validation_share": 0,
            **overrides,
        }
        config = make_config(corpus, bert, **settings)
        if overrides.get("evaluation__keep_best"):
            # Named alone, since the probe itself is handed over.
            config["evaluation"].update(
                probe_train="train.conll", probe_dev="dev.conll"
            )
        return config

    return make


class FakeProbe:
    """Gives values in turn, and remembers the weights that it was shown."""

    def __init__(self, *values):
        self.values = iter(values)
        self.shown = []

    def __call__(self, tokenizer, encoder, hidden_layers):
        assert not encoder.training
        assert tokenizer("Nara").input_ids
        assert hidden_layers == [-1, -3]
        # A probe that draws numbers must not change the run.
        weights = {k: v.clone() for k, v in encoder.state_dict().items()}
        self.shown.append(weights)
        return {"probe_token_f": next(self.values), "probe_ents_f": 0.25}


def read_metrics(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf8").splitlines()
    return [json.loads(line) for line in lines]


def measured(folder, key):
    return {row["step"]: row[key] for row in read_metrics(folder) if key in row}


def weights_of(folder):
    return (folder / "model.safetensors").read_bytes()


def test_numbers_and_figure(tmp_path, make_evaluated, capsys):
    out = tmp_path / "out"
    probe = FakeProbe(0.1, 0.2, 0.3, 0.4, 0.35)
    info = pretrain(make_evaluated(evaluation__validation_share=0.3), out, probe=probe)
    steps = info.training["steps"]
    expected = [0, 3, 6, steps]
    assert measured(out, "probe_token_f") == dict(
        zip(expected, [0.1, 0.2, 0.3, 0.4], strict=True)
    )
    precisions = measured(out, "average_precision")
    assert list(precisions) == expected
    assert all(0 < value < 1 for value in precisions.values())
    assert list(measured(out, "loss")) == list(range(1, steps + 1))
    assert info.training["best_step"] == steps
    assert info.training["probe_token_f"] == 0.4
    assert info.training["probe_token_f_of_base"] == 0.1
    assert info.training["probe_ents_f"] == 0.25
    assert info.training["average_precision"] == round(precisions[steps], 4)
    assert info == read_info(out)
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(out / "curve.svg").getroot().tag.endswith("svg")
    message = capsys.readouterr().err
    assert "step 3: average precision" in message
    assert "probe's token F1 20.0, entity F1 25.0" in message
    assert "probe token f of base" in (out / "README.md").read_text(encoding="utf8")


def test_evaluation_changes_nothing(tmp_path, make_evaluated):
    pretrain(make_evaluated(evaluation__every_steps=0), tmp_path / "without")
    pretrain(make_evaluated(), tmp_path / "with", probe=FakeProbe(*[0.5] * 5))
    assert weights_of(tmp_path / "without") == weights_of(tmp_path / "with")
    assert measured(tmp_path / "without", "loss") == measured(tmp_path / "with", "loss")
    assert not measured(tmp_path / "without", "probe_token_f")


def test_the_best_weights_become_the_backbone(tmp_path, make_evaluated):
    out = tmp_path / "out"
    probe = FakeProbe(0.1, 0.3, 0.5, 0.2, 0.4)
    info = pretrain(make_evaluated(evaluation__keep_best=True), out, probe=probe)
    assert info.training["best_step"] == 6
    assert info.training["probe_token_f"] == 0.5
    kept = AutoModel.from_pretrained(out).state_dict()
    assert all(torch.equal(kept[k], v) for k, v in probe.shown[2].items())
    assert any(not torch.equal(kept[k], v) for k, v in probe.shown[4].items())
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def test_the_base_was_better(tmp_path, make_evaluated, caplog):
    probe = FakeProbe(0.6, 0.3, 0.5, 0.2, 0.4)
    info = pretrain(
        make_evaluated(evaluation__keep_best=True), tmp_path / "out", probe=probe
    )
    assert info.training["best_step"] == 6
    assert "W304" in caplog.text
    assert "50.0" in caplog.text and "60.0" in caplog.text


def test_a_resumed_run_remembers(tmp_path, make_evaluated):
    config = make_evaluated(evaluation__keep_best=True)
    values = [0.1, 0.5, 0.3, 0.2, 0.4]
    whole = pretrain(config, tmp_path / "whole", probe=FakeProbe(*values))

    class Breaking(FakeProbe):
        def __call__(self, *args):
            if len(self.shown) == 3:
                raise KeyboardInterrupt
            return super().__call__(*args)

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "broken", probe=Breaking(*values))
    # The last checkpoint is of step 6, the break came in the last evaluation.
    again = FakeProbe(*values[3:])
    info = pretrain(config, tmp_path / "broken", resume=True, probe=again)
    assert info.training["best_step"] == whole.training["best_step"] == 3
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "broken")
    for key in ("probe_token_f", "loss"):
        assert measured(tmp_path / "whole", key) == measured(tmp_path / "broken", key)


def test_interrupted_while_it_saves_it_has_the_checkpoint_before(
    tmp_path, make_evaluated, monkeypatch
):
    """The best one is older: what came after it is not lost."""
    real = trainer.hash_file

    def hash_file(path):
        if path.parent.name == "checkpoint-9":
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(trainer, "hash_file", hash_file)
    config = make_evaluated(evaluation__keep_best=True)
    probe = FakeProbe(0.1, 0.5, 0.3, 0.2)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "out", probe=probe)
    left = (tmp_path / "out.work" / "checkpoints").iterdir()
    assert sorted(path.name for path in left) == ["checkpoint-3", "checkpoint-6"]


def test_resumed_before_the_first_checkpoint_it_starts_with_the_base(
    tmp_path, make_evaluated
):
    class Breaking(FakeProbe):
        def __call__(self, *args):
            raise KeyboardInterrupt

    config = make_evaluated()
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "out", probe=Breaking())
    probe = FakeProbe(0.1, 0.2, 0.3, 0.4, 0.35)
    info = pretrain(config, tmp_path / "out", resume=True, probe=probe)
    assert info.training["probe_token_f_of_base"] == 0.1


def test_too_few_texts_to_hold_out(tmp_path, make_evaluated, caplog):
    config = make_evaluated(evaluation__validation_share=1e-6)
    info = pretrain(config, tmp_path / "out")
    assert "W305" in caplog.text
    assert info.training["steps"] > 0
    assert "average_precision" not in info.training


def test_without_matplotlib_the_backbone_stands(
    tmp_path, make_evaluated, monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    # Imported by a test before this one.
    monkeypatch.delitem(sys.modules, "spacy_nuner.plotting", raising=False)
    pretrain(make_evaluated(), tmp_path / "out")
    assert "W303" in caplog.text and "matplotlib" in caplog.text
    assert (tmp_path / "out" / "metrics.jsonl").exists()
    assert not (tmp_path / "out" / "curve.png").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"evaluation__probe_dev": "dev.conll"},
            "probe_train and probe_dev go together",
        ),
        ({"evaluation__validation_share": 1.0}, "evaluation.validation_share"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, make_evaluated, overrides, message):
    with pytest.raises(NunerError, match=f"N301.*{message}"):
        pretrain(make_evaluated(**overrides), tmp_path / "out")


def test_nothing_to_choose_the_best_by(tmp_path, corpus, bert, make_config):
    config = make_config(corpus, bert, evaluation__keep_best=True)
    with pytest.raises(NunerError, match=r"N301.*evaluation\.probe_dev"):
        pretrain(config, tmp_path / "out")
