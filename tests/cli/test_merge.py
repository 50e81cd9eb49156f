"""Parts of several machines, joined: once, again, and not when one is missing."""

import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

from spacy_nuner.annotate.prompts import Settings, load_prompt
from spacy_nuner.annotate.store import Store, Task
from spacy_nuner.cli.app import app
from spacy_nuner.cli.merge import merge_stores
from spacy_nuner.corpus.convert import convert, merge_corpora
from spacy_nuner.errors import NunerError
from spacy_nuner.parallel import Share
from spacy_nuner.readers.answers import Answer, Sentence

TEXTS = [f"Room {n} in Lisbon." for n in range(40)] + ["Room 1 in Lisbon."]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    rows = [
        {"text": text, "answer": "Lisbon <> city\n" * (n % 5 > 0)}
        for n, text in enumerate(TEXTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def sentences(tmp_path):
    path = tmp_path / "sentences.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


def convert_part(answers, folder, part):
    convert([answers], folder, shard_size=6, progress=False, part=part)
    return folder


@pytest.mark.parametrize("count", [2, 3, 9])
def test_a_corpus_in_parts_is_that_of_one_machine(answers, tmp_path, count):
    whole = tmp_path / "whole"
    report = convert([answers], whole, shard_size=6, progress=False)
    parts = [
        convert_part(answers, tmp_path / f"{n}", Share(n, count)) for n in range(count)
    ]
    # In any order, and again.
    for name in ("merged", "merged", "chunks"):
        assert merge_corpora(parts[::-1], tmp_path / name) == report
        assert contents(tmp_path / name) == contents(whole)


def test_parts_of_a_corpus_that_lies_elsewhere_on_each_machine(tmp_path):
    parts = []
    for n in range(2):
        mounted = tmp_path / f"mount{n}" / "set"
        mounted.mkdir(parents=True)
        for i in range(4):
            (mounted / f"{i}.txt").write_text(f"Room {i} in Lisbon.")
            (mounted / f"{i}.ann").write_text("T1\tcity 10 16\tLisbon\n")
        parts.append(tmp_path / f"part{n}")
        convert([mounted], parts[-1], progress=False, part=Share(n, 2))
    report = merge_corpora(parts, tmp_path / "merged")
    assert report["records"]["written"] == 4


def test_parts_that_are_not_all_or_not_of_one_corpus(answers, tmp_path):
    one = convert_part(answers, tmp_path / "one", Share(0, 2))
    other = convert_part(answers, tmp_path / "other", Share(1, 2))
    third = convert_part(answers, tmp_path / "third", Share(1, 3))
    whole = tmp_path / "whole"
    convert([answers], whole, shard_size=6, progress=False)
    merged = tmp_path / "merged"
    for folders, reason in (
        ([one], "missing of 2 are 2"),
        ([one, one], "part 1 is in"),
        ([one, third], "another input"),
        ([one, whole], "part.json"),
    ):
        with pytest.raises(NunerError, match=f"N656.*{reason}"):
            merge_corpora(folders, merged)
    described = (other / "part.json").read_text()
    for damage in ("[]", '{"part": 2}', described.replace('"inputs"', '"input"')):
        (other / "part.json").write_text(damage)
        with pytest.raises(NunerError, match="N656.*part.json"):
            merge_corpora([one, other], merged)
    (other / "part.json").write_text(described)
    counts = next((other / "chunks").glob("*.json"))
    counts.rename(tmp_path / "counts")
    with pytest.raises(NunerError, match="N656.*not as it was written"):
        merge_corpora([one, other], merged)
    (tmp_path / "counts").rename(counts)
    (other / "00001.spacy").write_bytes(b"cut")
    with pytest.raises(NunerError, match="N656.*not as it was written"):
        merge_corpora([one, other], merged)
    assert not merged.exists()


def settings():
    return Settings(load_prompt("paper"), "a-model", {"seed": 0})


def test_sentences_are_dealt_out_by_their_texts(sentences, tmp_path):
    with closing(Store(tmp_path / "x.db")) as store:
        dealt = [
            [
                sentence.text
                for request in Task(
                    sentences, store, settings(), part=Share(n, 3)
                ).requests()
                for sentence in request
            ]
            for n in range(3)
        ]
    # Each once, the repeated one too, and none nowhere.
    assert sorted(text for part in dealt for text in part) == sorted(set(TEXTS))
    assert all(len(part) > 5 for part in dealt)


def test_the_newest_answer_counts_in_any_order_of_the_stores(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("spacy_nuner.annotate.store.time.time", lambda: now[0])
    sentence = Sentence(1, "s1", "Ana left Lisbon.")
    for name, content in (("old.db", "nothing"), ("new.db", "Lisbon <> city <> x")):
        with closing(Store(tmp_path / name)) as store:
            store.add([(sentence, Answer(content))], settings())
        now[0] += 60
    for number, order in enumerate((("old.db", "new.db"), ("new.db", "old.db"))):
        merged = tmp_path / f"merged{number}.db"
        merge_stores([tmp_path / name for name in order], merged)
        with closing(Store(merged)) as store:
            prompt, model = settings().prompt.hash, settings().model
            ((_, answer, _),) = store.best(prompt, model)
            assert answer.content == "Lisbon <> city <> x"
            assert store.find_answer(sentence.text, settings()) == answer
            # The old one alone would be asked about again.
            state = store.state(sentence, settings(), retry_bad=True)
            assert state == "answered"


def fill(path, sentences, part, *, answer="Lisbon <> city"):
    with closing(Store(path)) as store:
        task = Task(sentences, store, settings(), part=part)
        for request in task.requests():
            store.add([(request[0], Answer(answer))], settings())
    return path


def read(path):
    with closing(Store(path, read_only=True)) as store:
        (_, prompt, model, count) = store.kinds()[0]
        found = [(one.text, a.content) for one, a, _ in store.best(prompt, model)]
    return count, found


def test_stores_in_parts_are_that_of_one_machine(sentences, tmp_path):
    parts = [
        fill(tmp_path / f"{n}.db", sentences, Share(n, 3), answer=f"Lisbon <> c{n}")
        for n in range(3)
    ]
    merged = tmp_path / "all.db"
    assert merge_stores(parts, merged) == (40, {})
    count, found = read(merged)
    assert count == 40
    assert [text for text, _ in found] == TEXTS[:40]
    before = read(merged)
    # Again, and while the parts go on.
    assert merge_stores(parts, merged) == (0, {})
    assert merge_stores(parts[:1], merged) == (0, {})
    assert read(merged) == before
    # Nothing is left to ask.
    with closing(Store(merged)) as store:
        assert not list(Task(sentences, store, settings()).requests())


def test_another_answer_to_the_same_sentence_is_kept(sentences, tmp_path):
    one = fill(tmp_path / "1.db", sentences, Share(0, 1), answer="Lisbon <> city")
    two = fill(tmp_path / "2.db", sentences, Share(0, 1), answer="Lisbon <> town")
    merged = tmp_path / "all.db"
    assert merge_stores([one, two], merged) == (80, {})
    assert merge_stores([two, one], merged) == (0, {})
    count, found = read(merged)
    assert count == 80 and {answer for _, answer in found} == {"Lisbon <> town"}


def test_sentences_in_a_batch_are_named(sentences, tmp_path):
    path = fill(tmp_path / "1.db", sentences, Share(0, 2))
    with closing(Store(path)) as store, store.writing() as db:
        number = store.add_settings(db, settings())
        db.execute(
            "INSERT INTO batches VALUES ('b', 'http://x', ?, 'f', 'b', 0)", [number]
        )
        db.execute("INSERT INTO batch_items VALUES ('b', 0, 0, x'00', 0, '1', 'x')")
    merged = tmp_path / "all.db"
    done = CliRunner().invoke(app, ["merge", str(path), str(merged)])
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "W650" in words and "1 sentences of" in words


def test_the_command(answers, tmp_path):
    parts = []
    for n in (1, 2):
        parts.append(str(tmp_path / f"part{n}"))
        words = ["convert", str(answers), parts[-1], "--part", f"{n}/2"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["merge", *parts, str(tmp_path / "all")])
    assert done.exit_code == 0, done.output
    convert([answers], tmp_path / "whole", progress=False)
    assert contents(tmp_path / "all") == contents(tmp_path / "whole")
    # A store and a folder, or nothing at all.
    for wrong in (str(tmp_path / "all"), str(tmp_path / "none.db")):
        words = ["merge", str(answers), wrong, str(tmp_path / "x.db")]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1
        assert "N657" in done.output or "N210" in done.output
    with pytest.raises(NunerError, match="N657.*store of answers"):
        merge_stores([tmp_path / "all"], tmp_path / "x.db")
    with pytest.raises(NunerError, match="N657.*file and no folder"):
        merge_stores([tmp_path / "none.db"], tmp_path / "x.db")


@pytest.mark.parametrize("part", ["0/2", "3/2", "x", "1", "1/0", "-1/2"])
def test_what_is_no_part(answers, tmp_path, part):
    words = ["convert", str(answers), str(tmp_path / "out"), "--part", part]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and not (tmp_path / "out").exists()


def test_each_part_has_its_share_of_the_limits(sentences, tmp_path, monkeypatch):
    from spacy_nuner.cli import annotate as module

    asked = []
    monkeypatch.setattr(
        module, "annotate", lambda *args, **more: asked.append((args, more))
    )
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"models": {"m": {"input": 1, "output": 2}}}))
    limits = ["--rpm", "100", "--tpm", "5000", "--max-cost", "8", "--concurrency", "6"]
    words = ["annotate", str(sentences), str(tmp_path / "2.db"), "--model", "m"]
    words += [*limits, "--prices", str(prices), "--part", "2/4"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    ((_, _, _, connection, limit), more) = asked[0]
    assert (connection.rpm, connection.tpm, connection.concurrency) == (25, 1250, 1)
    assert limit.cost == 2 and more["part"] == Share(1, 4)
