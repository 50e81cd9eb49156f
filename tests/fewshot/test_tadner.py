"""TadNER's parts against plain computations, and what its settings change."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer

from spacy_nuner.encoders.layers import load_encoder
from spacy_nuner.errors import NunerError
from spacy_nuner.fewshot import word_encoder
from spacy_nuner.fewshot.episodes import Episode, Sentence
from spacy_nuner.fewshot.tadner import (
    EpisodeSettings,
    SourceSettings,
    SpanModel,
    Tadner,
    TypeModel,
    adapt,
    classify,
    get_prototypes,
    get_type_aware_loss,
    make_examples,
    pool_spans,
    train_spans,
    train_types,
)
from spacy_nuner.fewshot.type_names import FEWNERD_NAMES, name_type
from spacy_nuner.fewshot.word_encoder import WordEncoder

from ..tiny import make_tiny
from .toy import FISH, TEXTS, TREES, make_sentence

TYPES = ["fish", "tree"]
NAMES = {"fish": "a fish", "tree": "tall tree"}
STILL = EpisodeSettings(max_steps=0)


@pytest.fixture(scope="module", autouse=True)
def fp32():
    """What is compared with plain computations is computed in fp32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_encoder, "has_fast_bf16", lambda *, on_cpu: False)
        yield


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny("bert", tmp_path_factory.mktemp("bert"), TEXTS)


def make_words(folder, max_length=128):
    return WordEncoder(*load_encoder(folder), max_length=max_length)


def make_model(folder, bias=0.0):
    """A model that was not trained; with a bias all words are in spans."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spans = SpanModel(make_words(folder), dropout=0.2)
    torch.nn.init.constant_(spans.head[1].bias[1:], bias)
    return Tadner(spans, TypeModel(make_words(folder)))


@pytest.fixture(scope="module")
def model(bert):
    return make_model(bert)


@pytest.fixture(scope="module")
def episode():
    support = [make_sentence("fish", w) for w in FISH[:2]]
    support += [make_sentence("tree", w) for w in TREES[:2]]
    query = [make_sentence("fish", FISH[2]), make_sentence("tree", TREES[2])]
    return Episode(TYPES, support, [*query, make_sentence("fish", FISH[3])])


# The encoder of words


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-r"])
def test_words_have_the_vectors_of_their_first_pieces(tmp_path, name):
    folder = make_tiny(name, tmp_path, TEXTS)
    words = make_words(folder)
    sentences = [["we", "saw", "salmon", "trouts"], ["Yes"], ["an", "oak-tree", "!"]]
    pieces = [words.cut(one) for one in sentences]
    tokenizer = AutoTokenizer.from_pretrained(folder, add_prefix_space=True)
    _, encoder = load_encoder(folder)
    for layers in (1, 4):
        expected = []
        for sentence in sentences:
            batch = tokenizer(sentence, is_split_into_words=True, return_tensors="pt")
            with torch.no_grad():
                states = encoder(
                    input_ids=batch["input_ids"], output_hidden_states=True
                ).hidden_states[-layers:]
            vectors = sum(states) / layers
            firsts = [batch.word_to_tokens(0, i).start for i in range(len(sentence))]
            expected += [vectors[0, i] for i in firsts]
        with torch.no_grad():
            found = words(pieces, layers=layers)
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)


def test_words_over_the_limit_are_left_out_and_odd_ones_are_unknown(bert):
    words = make_words(bert, max_length=6)
    cut = words.cut(["we", "saw", "an", "oak", "in", "it"])
    assert len(cut.ids) == 6 and cut.firsts == [1, 2, 3, 4]
    # Nothing of a word that the tokenizer drops, and no special piece from a text.
    odd = words.cut(["\u200b", "[SEP]"])
    assert odd.ids[1] == words.tokenizer.unk_token_id
    assert words.tokenizer.sep_token_id not in odd.ids[1:-1]
    assert make_words(bert, max_length=1000).max_length == 64


def test_names_have_the_vector_of_the_special_piece(bert):
    words = make_words(bert)
    ids = torch.tensor([words.cut(["tall", "tree"]).ids])
    assert ids[0, 0] == words.tokenizer.cls_token_id
    with torch.no_grad():
        states = words.encoder(input_ids=ids, output_hidden_states=True).hidden_states
        found = words.encode_names(["a fish and more", "tall tree"], layers=4)
    torch.testing.assert_close(found[1], sum(states[-4:])[0, 0] / 4)


# Losses


def test_the_type_aware_loss_is_the_one_of_the_authors_code():
    generator = torch.Generator().manual_seed(1)
    n, width, temperature = 5, 4, 0.05
    words, of_types = (torch.randn(n, width, generator=generator) for _ in range(2))
    types = [0, 1, 0, 2, 1]
    names = torch.stack([of_types[t] for t in types])
    w, l = words.tolist(), names.tolist()  # noqa: E741

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    z = [[dot(l[i] + w[i], w[j] + l[j]) for j in range(n)] for i in range(n)]
    norms = [math.sqrt(sum(z[i][j] ** 2 for i in range(n))) for j in range(n)]
    expected = 0.0
    for i in range(n):
        row = [z[i][j] / norms[j] / temperature for j in range(n)]
        total = math.log(sum(math.exp(x) for x in row))
        for j in range(n):
            if types[i] == types[j]:
                expected -= (row[j] - total) / n
    found = get_type_aware_loss(
        words, names, torch.tensor(types), temperature=temperature
    )
    assert found.item() == pytest.approx(expected, rel=1e-5)
    # By rows it is the loss of the transposed logits, scaled by columns.
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in z]
    by_rows = 0.0
    for i in range(n):
        total = math.log(sum(math.exp(x / temperature) for x in rows[i]))
        same = [j for j in range(n) if types[i] == types[j]]
        by_rows -= sum(rows[i][j] / temperature - total for j in same) / n
    found = get_type_aware_loss(
        *(words, names, torch.tensor(types)),
        temperature=temperature,
        scaled_columns=False,
    )
    assert found.item() == pytest.approx(by_rows, rel=1e-5)


def test_the_loss_of_a_batch_reads_words_of_entities_and_names_of_their_types(bert):
    model = TypeModel(make_words(bert)).eval()
    sentences = [make_sentence("fish", FISH[0]), make_sentence("tree", TREES[0])]
    sentences += [make_sentence("fish", FISH[1])]
    # A type that the batch does not have is not read.
    examples = make_examples(model.words, sentences, ["bird", *TYPES])
    settings = SourceSettings(temperature=0.5, layers=2)
    with torch.no_grad():
        found = model.get_contrastive_loss(examples, ["", *NAMES.values()], settings)
        vectors, names, types = [], [], []
        for sentence in sentences:
            encoded = model.words([model.words.cut(sentence.words)], layers=2)
            for vector, label in zip(encoded, sentence.labels, strict=True):
                if label != "O":
                    vectors.append(vector)
                    names.append(model.words.encode_names([NAMES[label]], layers=2)[0])
                    types.append(TYPES.index(label))
    expected = get_type_aware_loss(
        torch.stack(vectors), torch.stack(names), torch.tensor(types), temperature=0.5
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_loss_of_spans_is_the_cross_entropy_of_all_words(model, episode):
    examples = make_examples(model.spans.words, episode.support, TYPES)
    losses = []
    with torch.no_grad():
        for sentence in episode.support:
            logits = model.spans([model.spans.words.cut(sentence.words)])
            for row, label in zip(logits.softmax(-1), sentence.labels, strict=True):
                losses.append(-math.log(row[int(label != "O")]))
        found = model.spans.get_loss(examples).item()
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-4)


# Adapting


@pytest.mark.parametrize(
    ("losses", "patience", "steps"),
    [
        # Not before more than `patience` losses in a row were above the best one.
        ([3, 2, 2.5, 2.1, 2.2, 1], 2, 4),
        ([3, 2, 2.5, 2.1, 2, 2.5, 2.5, 2.5, 1], 2, 7),
        ([3, 2, 2.5, 1], 0, 2),
        # As high as the best one is not above it.
        ([2, 2, 2, 2, 3], 0, 4),
        ([5, 4, 3, 2, 1, 0], 0, 6),
    ],
)
def test_adapting_stops_by_the_loss(losses, patience, steps):
    linear = torch.nn.Linear(1, 1)
    start = linear.weight.item()
    asked = []

    def get_loss():
        asked.append(len(asked))
        # A gradient of 1, whatever the loss is.
        zero = linear.weight.sum() - linear.weight.sum().detach()
        return losses[asked[-1]] + zero

    taken = adapt(linear, get_loss, rate=0.5, max_steps=len(losses), patience=patience)
    assert taken == steps and len(asked) == min(steps + 1, len(losses))
    # Adam goes on by its rate where the gradient stays: the last step is not taken.
    assert linear.weight.item() == pytest.approx(start - 0.5 * steps, abs=1e-4)


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_adapting_moves_weights_as_one_adam_does(tmp_path, name, episode):
    folder = make_tiny(name, tmp_path, TEXTS)
    sparse, dense = (make_model(folder).spans.eval() for _ in range(2))
    embeddings = dense.words.encoder.get_input_embeddings()
    assert embeddings.sparse
    embeddings.sparse = False
    examples = make_examples(sparse.words, episode.support, TYPES)
    before = sparse.words.encoder.get_input_embeddings().weight.clone()
    adapt(
        *(sparse, lambda: sparse.get_loss(examples)),
        **{"rate": 1e-2, "max_steps": 4, "patience": 9},
    )
    optimizer = torch.optim.Adam(dense.parameters(), lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        dense.get_loss(examples).backward()
        optimizer.step()
    after = sparse.words.encoder.get_input_embeddings().weight
    # Four steps of 0.01; what is small is the share of Adam's epsilon.
    torch.testing.assert_close(after, embeddings.weight, rtol=0, atol=2e-3)
    losses = [one.get_loss(examples).item() for one in (sparse, dense)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    moved = {i for i, row in enumerate((after != before).any(dim=1)) if row}
    assert moved and moved <= {i for one in examples for i in one.pieces.ids}


def test_the_encoder_of_spans_has_patience_and_that_of_types_none(
    bert, episode, monkeypatch
):
    model = make_model(bert, bias=99.0)
    seen = []

    def record(module, get_loss, *, patience, **settings):
        seen.append((type(module).__name__, patience, settings))
        return 7

    monkeypatch.setattr("spacy_nuner.fewshot.tadner.adapt", record)
    found = model.predict(episode, NAMES, EpisodeSettings(), shots=5, seed=0)
    settings = {"rate": 3e-5, "max_steps": 100}
    assert seen == [("SpanModel", 6, settings), ("TypeModel", 0, settings)]
    assert found.steps == (7, 7)
    assert found.spans == [[(0, len(one.words))] for one in episode.query]
    seen.clear()
    own = EpisodeSettings(patience=1, rate=0.1, max_steps=2)
    model.predict(episode, NAMES, own, shots=5, seed=0)
    assert seen[0] == ("SpanModel", 1, {"rate": 0.1, "max_steps": 2})


# Types


def test_spans_and_types_are_means():
    vectors = torch.arange(12.0).reshape(6, 2)
    spans = [[(0, 2)], [], [(0, 1), (1, 3)]]
    # Sentences of 2, 1 and 3 words.
    found = pool_spans(vectors, [2, 1, 3], spans)
    assert found.tolist() == [[1, 2], [6, 7], [9, 10]]
    assert pool_spans(vectors, [6], [[]]).shape == (0, 2)
    means = get_prototypes(found, [1, 1, 0], 3)
    assert means.tolist() == [[9, 10], [3.5, 4.5], [0, 0]]


def test_classify_drops_and_scales():
    logits = torch.tensor([[4.0, 1.0], [9.0, 2.0], [1.0, 0.5]])
    assert classify(logits, 1.0, transductive=False) == [0, 0, -1]
    # By columns of length 1 the second type wins where it is large for itself.
    assert classify(logits, 0.0, transductive=True) == [1, 0, 1]
    assert classify(logits, 2.0, transductive=True) == [-1, 0, -1]


def forced(model, spans, monkeypatch):
    """The model with spans that are given for the query set."""
    monkeypatch.setattr(model, "_predict_spans", lambda *_: (spans, 0))
    return model


SPANS = [[(2, 3)], [(0, 2), (2, 3)], [(2, 4)]]


def test_types_are_those_of_a_plain_computation(model, episode, monkeypatch):
    model = forced(model, SPANS, monkeypatch)
    words = model.types.words

    def encode(sentence):
        with torch.no_grad():
            ids = torch.tensor([words.cut(sentence).ids])
            states = words.encoder(input_ids=ids, output_hidden_states=True)
            vectors = sum(states.hidden_states[-4:])[0] / 4
        return vectors[0], [vectors[i] for i in words.cut(sentence).firsts]

    names = {name: encode(NAMES[name].split())[0] for name in TYPES}
    mentions = {name: [] for name in TYPES}
    of_tokens = []
    for sentence in episode.support:
        _, vectors = encode(sentence.words)
        for start, end, name in sentence.find_entities():
            mentions[name].append(sum(vectors[start:end]) / (end - start))
            of_tokens += [(vectors[i] @ names[name]).item() for i in range(start, end)]
    support = torch.stack([sum(m) / len(m) for m in mentions.values()])
    support = support / (support**2).sum(dim=0).sqrt()
    logits = []
    for sentence, found in zip(episode.query, SPANS, strict=True):
        _, vectors = encode(sentence.words)
        for start, end in found:
            q = sum(vectors[start:end]) / (end - start)
            both = [
                torch.cat([names[n], s]) for n, s in zip(TYPES, support, strict=True)
            ]
            logits.append([(p @ torch.cat([q, q])).item() for p in both])
    for which, threshold in (
        ("min", min(of_tokens)),
        ("mean", sum(of_tokens) / len(of_tokens)),
        ("none", -math.inf),
    ):
        expected = iter(
            -1 if max(row) / 2 <= threshold else row.index(max(row)) for row in logits
        )
        wanted = [
            [(*span, TYPES[i]) for span in found if (i := next(expected)) >= 0]
            for found in SPANS
        ]
        settings = replace(STILL, span_filter=which)
        found = model.predict(episode, NAMES, settings, shots=1, seed=0)
        assert found.entities == wanted and found.spans == SPANS
    assert sum(map(len, wanted)) == 4


def capture(model, monkeypatch):
    """Every call of `classify`: the logits and the threshold."""
    seen = []

    def record(logits, threshold, *, transductive):
        seen.append((logits, threshold))
        return classify(logits, threshold, transductive=transductive)

    monkeypatch.setattr("spacy_nuner.fewshot.tadner.classify", record)
    return seen


def test_settings_change_what_they_should(model, episode, monkeypatch):
    model = forced(model, SPANS, monkeypatch)
    seen = capture(model, monkeypatch)

    def ask(seed=0, **settings):
        model.predict(episode, NAMES, replace(STILL, **settings), shots=1, seed=seed)
        return seen[-1]

    logits, threshold = ask()
    # Without dropout the seed changes nothing, with it it does, in all of them.
    again, same = ask(seed=1)
    torch.testing.assert_close(again, logits)
    assert same == threshold
    one, other = ask(prediction_dropout=True), ask(seed=1, prediction_dropout=True)
    assert not torch.allclose(one[0], other[0]) and one[1] != other[1]
    # The filter alone: logits stay.
    mean = ask(span_filter="mean")
    torch.testing.assert_close(mean[0], logits)
    assert mean[1] > threshold and ask(span_filter="none")[1] == -math.inf
    # Prototypes and layers change logits; prototypes do not change the threshold.
    raw = ask(scaled_prototypes=False)
    assert not torch.allclose(raw[0], logits) and raw[1] == threshold
    last = ask(layers=1)
    assert not torch.allclose(last[0], logits) and last[1] != threshold
    # Steps change both.
    moved = ask(max_steps=3, rate=1e-2)
    assert not torch.allclose(moved[0], logits)


def test_only_a_transductive_prediction_depends_on_other_sentences():
    logits = torch.tensor([[3.0, 2.9], [5.0, 1.0]])
    alone = torch.tensor([[3.0, 2.9]])
    for transductive in (False, True):
        first = classify(logits, 0.0, transductive=transductive)[0]
        same = first == classify(alone, 0.0, transductive=transductive)[0]
        assert same is not transductive


def test_nothing_is_left_of_the_episode_before(bert, episode):
    settings = EpisodeSettings(max_steps=3, rate=1e-2, span_filter="none")
    other = Episode(TYPES, episode.support[::-1], episode.query)
    model = make_model(bert)
    before = torch.random.get_rng_state()
    first = model.predict(episode, NAMES, settings, shots=1, seed=1)
    model.predict(other, NAMES, settings, shots=1, seed=2)
    assert model.predict(episode, NAMES, settings, shots=1, seed=1) == first
    # Nor of the caller's random state.
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_spans_or_entities_there_is_nothing_to_type(
    model, episode, monkeypatch
):
    empty = forced(model, [[], [], []], monkeypatch)
    found = empty.predict(episode, NAMES, EpisodeSettings(), shots=1, seed=0)
    assert found.entities == [[], [], []] and found.steps == (0, 0)


# Training


def test_it_learns_spans_and_types(bert, tmp_path):
    """Trained on two types, adapted to two others, it tags sentences like those."""
    rows = [make_sentence(t, w) for t in ("metal", "tool") for w in FISH + TREES]
    settings = SourceSettings(epochs=15, batch_size=8, rate=3e-3)
    made = {"metal": "metal", "tool": "tool"}
    spans = train_spans(bert, rows, settings, make(tmp_path / "spans"))
    types = train_types(bert, rows, made, settings, make(tmp_path / "types"))
    assert spans["steps"] == types["steps"] == 15 * -(-len(rows) // 8)
    assert spans["loss"] < 0.3
    model = Tadner.from_disk(tmp_path / "spans", tmp_path / "types", settings)
    support = [make_sentence("fish", w) for w in FISH]
    support += [make_sentence("tree", w) for w in TREES]
    own = EpisodeSettings(rate=3e-3, span_filter="none")
    episode = Episode(TYPES, support, support[::3])
    found = model.predict(episode, NAMES, own, shots=5, seed=0)
    gold = [one.find_entities() for one in episode.query]
    right = sum(len(set(a) & set(b)) for a, b in zip(found.entities, gold, strict=True))
    total = sum(map(len, found.entities)) + sum(map(len, gold))
    assert 2 * right / total > 0.8 and found.steps[0] > 0


def test_training_is_repeatable_and_saved_as_it_is(bert, tmp_path):
    rows = [make_sentence("fish", w) for w in FISH] + [Sentence(("we",), ("O",))]
    settings = SourceSettings(batch_size=2, rate=1e-3, seed=3)
    both = [train_spans(bert, rows, settings, make(tmp_path / name)) for name in "ab"]
    # The sentence without an entity is left out.
    assert both[0] == both[1] and both[0]["steps"] == -(-len(FISH) // 2)
    for file in ("head.safetensors", "encoder/model.safetensors"):
        a, b = ((tmp_path / name / file).read_bytes() for name in "ab")
        assert a == b
    assert not [p for p in (tmp_path / "a").rglob("*") if p.suffix in (".bin", ".pt")]
    other = replace(settings, seed=4)
    assert train_spans(bert, rows, other, make(tmp_path / "c")) != both[0]


def test_a_loss_that_is_no_number_is_an_error(bert, tmp_path):
    rows = [make_sentence("fish", w) for w in FISH]
    settings = SourceSettings(batch_size=1, rate=1e30)
    with pytest.raises(NunerError, match="N645.*lower --rate"):
        train_spans(bert, rows, settings, make(tmp_path / "x"))


def test_a_damaged_head_is_an_error(bert, tmp_path):
    rows = [make_sentence("fish", w) for w in FISH[:2]]
    settings = SourceSettings()
    train_spans(bert, rows, settings, make(tmp_path / "spans"))
    (tmp_path / "spans" / "head.safetensors").write_bytes(b"x" * 20)
    names = {"fish": "fish"}
    train_types(bert, rows, names, settings, make(tmp_path / "types"))
    with pytest.raises(NunerError, match="N015"):
        Tadner.from_disk(tmp_path / "spans", tmp_path / "types", settings)


def make(folder):
    folder.mkdir()
    return folder


def test_types_of_few_nerd_have_the_names_of_the_authors():
    assert len(FEWNERD_NAMES) == 66
    assert name_type("location-GPE") == "geographical social political entity"
    assert name_type("person-artist/author") == "artist author"
    assert name_type("building-other") == "other building"
    # Of another set.
    assert name_type("product-name") == "product name"
    assert name_type("Restaurant_Name") == "restaurant name"


def test_every_type_of_the_benchmark_has_a_name(data):
    folder = data / "fewnerd-inter"
    labels = set()
    for part in ("train-part1", "train-part2", "test"):
        for line in (folder / f"{part}.conll").open(encoding="utf8"):
            labels.add(line.rstrip("\n").rpartition("\t")[2].partition("-")[2])
    assert len(labels - {""}) == 53 and labels - {""} <= set(FEWNERD_NAMES)
