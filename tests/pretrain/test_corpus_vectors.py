import pytest

from spacy_nuner.pretrain.corpus_vectors import fit_scale
from spacy_nuner.pretrain.data.features import Features, build_features
from spacy_nuner.pretrain.run import build_model, pretrain
from spacy_nuner.pretrain.settings import resolve_settings


@pytest.fixture
def model(corpus, base, make_config):
    config = make_config(corpus, base, model__description_dropout=0.0)
    return build_model(resolve_settings(config), on_cpu=True)


def test_logits_differ_as_much_for_any_encoder(tmp_path, corpus, model):
    build_features(
        corpus,
        tmp_path,
        concept_encoder=model.concept_encoder,
        max_length=48,
    )
    features = Features.from_folder(tmp_path)
    scale = fit_scale(model, features)
    assert 0 < scale < 100
    # Vectors twice as long have products four times as large.
    for encoder in (model.text_encoder, model.concept_encoder.encoder):
        layer = encoder.encoder.layer[-1].output.LayerNorm
        layer.weight.data *= 2
        layer.bias.data *= 2
    assert fit_scale(model, features) == pytest.approx(scale / 4, rel=1e-4)


@pytest.mark.parametrize("given", [None, 2.0])
def test_training_starts_there(tmp_path, corpus, bert, make_config, given):
    config = make_config(
        corpus, bert, model__initial_scale=given, training__learn_rate=1e-9
    )
    info = pretrain(config, tmp_path / "out")
    if given is None:
        assert info.scale != pytest.approx(1.0, abs=1e-3)
    else:
        assert info.scale == pytest.approx(given)
