"""Counts of a corpus, and the layouts that its figures are drawn from."""

import json
import sys
import types

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin, Span

from spacy_nuner.corpus.convert import convert
from spacy_nuner.errors import NunerError
from spacy_nuner.stats.charts import place_words
from spacy_nuner.stats.concept_map import get_colours, make_map
from spacy_nuner.stats.counts import PUBLISHED, count_corpus, fit_power_law
from spacy_nuner.stats.page import write_stats

pytestmark = pytest.mark.slow


def write_corpus(folder, *sentences):
    nlp = spacy.blank("en")
    folder.mkdir(exist_ok=True)
    docs = []
    for text, spans, descriptions in sentences:
        doc = nlp.make_doc(text)
        doc.spans["concepts"] = [Span(doc, *span) for span in spans]
        doc.spans["concepts"].attrs["descriptions"] = descriptions
        docs.append(doc)
    DocBin(docs=docs).to_disk(folder / "00000.spacy")
    return folder


def test_counts(tmp_path):
    folder = write_corpus(
        tmp_path,
        # Twice in its sentence, but one annotation; another concept is another one.
        ("Rome is Rome", [(0, 1, "city"), (2, 3, "city"), (0, 1, "capital city")], {}),
        ("rome and Bonn", [(0, 1, "city"), (2, 3, "city")], {"city": "a place"}),
        ("nothing at all, you see", [], {}),
    )
    stats = count_corpus(folder, progress=False)
    assert stats.summary() == {
        "sentences": 3,
        "words": 3 + 3 + 5,
        "words_per_sentence": 3.67,
        "annotations": 4,
        "annotations_per_sentence": 1.33,
        "sentences_without_annotations": 1,
        "spans": 5,
        "described": 0.5,
        "concepts": 2,
        "words_in_concept_names": 2,
        "singletons": 1,
        "share_of_top_100": 1.0,
        "share_of_singletons": 0.25,
        "power_law_slope": None,
        "power_law_r2": None,
    }
    assert stats.words == {3: 2, 5: 1}
    assert stats.annotations == {2: 2, 0: 1}
    first, second = stats.ranked()
    assert (first.name, first.count) == ("city", 3)
    assert (first.example, first.description) == ("Rome", "a place")
    assert (second.name, second.description) == ("capital city", "")
    assert stats.report is None


def test_counts_agree_with_those_of_the_conversion(assets, tmp_path):
    source = assets / "annotations" / "arts-media.jsonl"
    report = convert([source], tmp_path / "corpus", progress=False)
    stats = count_corpus(tmp_path / "corpus", progress=False)
    summary = stats.summary()
    assert stats.report == report
    assert summary["sentences"] == report["records"]["written"]
    assert summary["annotations"] == sum(report["annotations"]["matched"].values())
    assert summary["spans"] == report["annotations"]["spans"]
    assert summary["concepts"] == report["concepts"]["distinct"]
    assert summary["singletons"] == report["concepts"]["once"]
    assert summary["share_of_top_100"] == report["concepts"]["share_of_top_100"]


def test_the_sample_of_the_published_set_is_like_the_whole(data, tmp_path):
    source = data / "nuner-sample" / "nuner-sample-1k.csv"
    convert([source], tmp_path / "corpus", progress=False)
    summary = count_corpus(tmp_path / "corpus", progress=False).summary()
    # Cleaning takes a tenth of the annotations.
    per_sentence = PUBLISHED["annotations_per_sentence"]
    assert summary["annotations_per_sentence"] == pytest.approx(per_sentence, rel=0.1)
    words = PUBLISHED["words_per_sentence"]
    assert summary["words_per_sentence"] == pytest.approx(words, rel=0.05)
    top = PUBLISHED["share_of_top_100"]
    assert summary["share_of_top_100"] == pytest.approx(top, abs=0.05)


@pytest.mark.parametrize("slope", [-0.6, -1.0, -1.4])
def test_the_slope_of_a_power_law(slope):
    counts = [max(1, round(1e5 * rank**slope)) for rank in range(1, 20_000)]
    fitted, r2 = fit_power_law(counts)
    assert fitted == pytest.approx(slope, abs=0.01)
    assert r2 > 0.999


def test_what_no_power_law_can_be_fitted_to():
    assert fit_power_law([9] * 10) == (None, None)
    assert fit_power_law([4] * 100) == (None, None)
    assert fit_power_law([9] * 100) == (0.0, 1.0)
    slope, r2 = fit_power_law([100] * 50 + [10] * 50)
    assert slope < 0 and r2 < 0.9


def test_what_can_not_be_counted(tmp_path):
    with pytest.raises(NunerError, match="N105"):
        count_corpus(tmp_path, progress=False)
    write_corpus(tmp_path, ("Nothing.", [], {}))
    with pytest.raises(NunerError, match="N108.*none of its 1 docs"):
        count_corpus(tmp_path, progress=False)
    write_corpus(tmp_path, ("Rome", [(0, 1, "city")], {}))
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(NunerError, match=r"N635.*report\.json"):
        count_corpus(tmp_path, progress=False)


def test_words_of_a_cloud_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    sizes = np.stack([rng.uniform(5, 80, 150), rng.uniform(4, 30, 150)], axis=1)
    sizes = sizes[np.argsort(-sizes[:, 1])]
    points = place_words(sizes, aspect=1.8, gap=2.0)
    distance = np.abs(points[:, None] - points[None])
    needed = (sizes[:, None] + sizes[None]) / 2 + 2.0
    apart = (distance >= needed - 1e-9).any(axis=2)
    assert apart[~np.eye(150, dtype=bool)].all()
    assert (points[0] == 0).all()
    # It is a cloud and not a line: words cover half of the ellipse around them.
    reach = np.abs(points) + sizes / 2
    area = np.pi * np.prod(np.quantile(reach, 0.95, axis=0))
    assert sizes.prod(axis=1).sum() > 0.5 * area


def make_vectors(*, clusters=5, size=12, width=16):
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(clusters, width))
    spread = 0.1 * rng.normal(size=(clusters, size, width))
    return (middles[:, None] + spread).reshape(-1, width)


def make_names(vectors):
    return [f"concept {number}" for number in range(len(vectors))]


def get_rgb(colours):
    return np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])


def test_what_is_alike_is_near_and_has_one_hue():
    vectors = make_vectors()
    where = make_map(make_names(vectors), vectors)
    assert where.points.shape == (60, 2)
    assert where.method.startswith("names by their concept-encoder vectors, ")
    for values in (where.points, get_rgb(where.colours).astype(float)):
        groups = values.reshape(5, 12, -1)
        inside = np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=2).mean()
        between = np.linalg.norm(
            groups.mean(1)[:, None] - groups.mean(1)[None], axis=2
        ).mean()
        assert between > 2 * inside
    again = make_map(make_names(vectors), vectors)
    assert (again.points == where.points).all()


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 11])
def test_maps_of_a_few_concepts(count):
    vectors = np.eye(count, 4)
    for given in (vectors, None):
        where = make_map(make_names(vectors), given)
        assert where.points.shape == (count, 2)
        assert np.isfinite(where.points).all()
        assert len(where.colours) == count


def test_colours_can_be_read_on_white_and_on_black():
    rng = np.random.default_rng(0)
    rgb = get_rgb(get_colours(rng.normal(size=(200, 3)))) / 255
    # WCAG 2's relative luminance and contrast.
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (1.05 / (luminance + 0.05)).min() > 4
    assert ((luminance + 0.05) / 0.05).min() > 4
    # They are not all grey.
    assert np.ptp(rgb, axis=1).mean() > 0.3


def test_without_vectors_names_that_are_spelled_alike_are_near():
    names = [f"{word} part" for word in ("car", "aircraft", "motor", "ship", "bicycle")]
    names += [
        f"novel by {word}" for word in ("woman", "german", "man", "child", "poet")
    ]
    where = make_map(names)
    assert where.method.startswith("names by their character n-grams, ")
    first, second = where.points[:5], where.points[5:]
    spread = max(np.ptp(first, axis=0).max(), np.ptp(second, axis=0).max())
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > spread / 2


@pytest.mark.parametrize(
    "module, package",
    [
        ("sklearn.manifold", "scikit-learn"),
        ("matplotlib", "matplotlib"),
    ],
)
def test_missing_packages(module, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("plotting", "stats.charts"):
        monkeypatch.delitem(sys.modules, f"spacy_nuner.{name}", raising=False)
    stats = count_corpus(
        write_corpus(tmp_path / "corpus", ("Rome", [(0, 1, "city")], {})),
        progress=False,
    )
    expected = rf"N006.*{package}.*spacy-nuner\[fewshot\]"
    with pytest.raises(NunerError, match=expected):
        write_stats(stats, tmp_path / "out", title="corpus")
    assert not (tmp_path / "out").exists()


def test_umap_lays_the_map_out_where_it_is_installed(monkeypatch):
    class Umap:
        def __init__(self, **settings):
            assert settings["metric"] == "cosine"

        def fit_transform(self, vectors):
            return vectors[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Umap))
    vectors = make_vectors()
    where = make_map(make_names(vectors), vectors)
    assert where.method.endswith("vectors, UMAP")


def test_report_of_another_form_is_left_out(tmp_path):
    """A folder of DocBins of one's own may hold a report.json of one's own."""
    folder = write_corpus(tmp_path, ("Rome", [(0, 1, "city")], {}))
    (folder / "report.json").write_text(json.dumps({"mine": 1}))
    assert count_corpus(folder, progress=False).report is None
