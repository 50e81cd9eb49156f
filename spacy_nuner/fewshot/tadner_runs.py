"""TadNER with several backbones on the same episodes, resumed where it was."""

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
import transformers
from thinc.api import get_torch_default_device
from tqdm import tqdm

from ..about import __version__
from ..encoders.layers import has_fast_bf16
from ..errors import Errors, NunerError, Warnings
from ..files import write_whole
from ..masking import mask_texts
from ..outputs import check_output, claimed, write_folder
from ..printing import printable, shorten
from ..readers.sources import hash_input
from .compare import Backbone, name_lang
from .entity_counts import count_matches
from .episode_scores import EpisodeScore, compare_episodes, score_episodes
from .episodes import (
    Episode,
    EpisodeSampler,
    Sentence,
    is_episode_file,
    read_episodes,
    read_sentences,
)
from .results import ignore_names, read_json
from .tadner import (
    EpisodeSettings,
    SourceSettings,
    Tadner,
    train_spans,
    train_types,
)

# Seconds after which finished episodes are written.
WRITE_EVERY = 30
COMMAND = "tadner"
SOURCE = "source"
EPISODES = "episodes"
RECORD = "tadner.json"
STAGES = ("spans", "types")


@dataclass(frozen=True)
class EpisodeSet:
    """Episodes of one setting.

    name (str): What files call it, such as "5-way-1-shot".
    ways, shots (int): Types of an episode, and the K of K~2K mentions of each.
    types (list[str]): The types that its episodes may have.
    origin (dict[str, Any]): What tells them from episodes of the same names.
    episodes (dict[int, Episode]): Seed, or number in the file, -> episode.
    """

    name: str
    ways: int
    shots: int
    types: list[str]
    origin: dict[str, Any]
    episodes: dict[int, Episode]


@dataclass(frozen=True)
class Result:
    """What a backbone scored on the episodes of one setting.

    backbone, setting (str): What it is of.
    ways, shots (int): As in `EpisodeSet`.
    settings (dict[str, Any]): Whatever else the scores depend on, as JSON has it.
    episodes (list[EpisodeScore]): The episodes that are done.
    """

    backbone: str
    setting: str
    ways: int
    shots: int
    settings: dict[str, Any]
    episodes: list[EpisodeScore]

    @property
    def scores(self) -> dict[str, Any]:
        """As `score_episodes` gives them."""
        return score_episodes(self.episodes)

    def to_disk(self, path: Path) -> None:
        """Write it as JSON, with its scores.

        path (Path): The file, which is whole at any time.
        """
        content = asdict(self)
        episodes = content.pop("episodes")
        content |= {
            # So that nobody takes it for a published figure.
            "sampled": "query_shots" in self.settings["episodes"],
            "scores": self.scores,
            "seconds": round(sum(one.seconds for one in self.episodes), 1),
            "versions": {
                "spacy_nuner": __version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "episodes": episodes,
        }
        text = json.dumps(mask_texts(content), ensure_ascii=False, indent=1)
        write_whole(path, text)

    def resume(self, path: Path) -> Self:
        """Add what an earlier run has done.

        path (Path): The file that it wrote, if any.
        RETURNS (Result): With its episodes.
        RAISES (NunerError): N631 if the file is something else, N643 if it was made
            with other settings.
        """
        if not path.is_file():
            return self
        found = read_json(path, ["episodes"])
        _check_same(path, found.get("settings"), self.settings)
        return replace(self, episodes=_read_episodes(path, found))


def read_results(root: Path) -> dict[str, list[Result]]:
    """Read what `run_tadner` wrote, anywhere below a folder.

    root (Path): The folder.
    RETURNS (dict[str, list[Result]]): Name of the files of a setting -> the results of
        all backbones; those of hidden folders are left out.
    RAISES (NunerError): N631 if a file is something else, N629 if there are two of one
        setting and backbone with other settings, or backbones that saw other episodes
        or were trained on other data.
    """
    results: dict[str, list[Result]] = {}
    seen: dict[tuple[str, str], tuple[Path, Result]] = {}
    shared: dict[str, tuple[Path, dict[str, Any]]] = {}
    keys = ["backbone", "setting", "ways", "shots", "settings", "episodes"]
    paths: list[Path] = []
    if os.path.isdir(root):
        paths = sorted(root.rglob(f"{EPISODES}/*.json"))
    for path in paths:
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        found = read_json(path, keys)
        known = {key: found[key] for key in keys[:-1]}
        result = Result(**known, episodes=_read_episodes(path, found))
        first, same = seen.setdefault((path.stem, result.backbone), (path, result))
        compared = _ignore_encoder(result.settings)
        one, other = shared.setdefault(path.stem, (path, compared))
        if first != path:
            settings = (_go_by_hash(x.settings) for x in (same, result))
            _check_compared(*zip((first, path), settings, strict=True))
            continue
        _check_compared((one, other), (path, compared))
        results.setdefault(path.stem, []).append(result)
    return results


def _check_compared(one: tuple[Path, Any], other: tuple[Path, Any]) -> None:
    """RAISES (NunerError): N629 if the settings of two results differ."""
    if changes := ", ".join(_find_changes(one[1], other[1])):
        raise NunerError(
            Errors.N629, first=one[0], second=other[0], differences=changes
        )


def _ignore_encoder(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What all backbones must share: all but the encoder and how it computes."""
    source = dict(settings.get("source") or {})
    for key in ("encoder", "precision"):
        source.pop(key, None)
    return {**settings, "source": source}


def episodes_table(
    results: Sequence[Result], base: str
) -> tuple[list[str], list[list[str]]]:
    """Lay out the results of one setting, in percent.

    results (Sequence[Result]): Those of all backbones.
    base (str): The backbone that gains are over.
    RETURNS (tuple[list[str], list[list[str]]]): Header and rows, the base first.
    """
    of_base = [one for one in results if one.backbone == base]
    rows = []
    for one in sorted(results, key=lambda one: one.backbone != base):
        scores, gain = one.scores, None
        if of_base and one is not of_base[0]:
            gain = compare_episodes(one.episodes, of_base[0].episodes)
        rows.append(
            [
                one.backbone,
                _show(scores["ents_f"], scores["ents_f_interval"]),
                _show(*gain, sign="+") if gain else "",
                *(f"{100 * scores[key]:.1f}" for key in ("ents_p", "ents_r")),
                f"{100 * scores['spans_f']:.1f}",
            ]
        )
    return ["backbone", "F1", "gain", "precision", "recall", "spans F1"], rows


def _show(value: float, interval: Sequence[float], *, sign: str = "") -> str:
    """Percent with its interval, such as "48.7 (46.1 to 51.2)"."""
    low, high = (f"{100 * end:{sign}.1f}" for end in interval)
    return f"{100 * value:{sign}.1f} ({low} to {high})"


def find_episodes(
    test: Path,
    *,
    ways: Sequence[int],
    shots: Sequence[int],
    count: int,
    query_shots: int | None = None,
    seed: int = 0,
    lang: str = "en",
) -> list[EpisodeSet]:
    """Read or sample the episodes, the same for every backbone.

    test (Path): A file of episodes, whose types and mentions count, or a labelled set
        to sample from.
    ways (Sequence[int]): Types of an episode.
    shots (Sequence[int]): The K of K~2K mentions of each.
    count (int): Episodes of each setting at most.
    query_shots (int | None): K of the query set; None for that of the support set.
    seed (int): Seed of the first episode; the next one has one more.
    lang (str): Language of the tokenizer for texts.
    RETURNS (list[EpisodeSet]): One for the file, or for each pair of ways and shots.
    RAISES (NunerError): What `read_episodes` or `read_sentences` and
        `EpisodeSampler.sample` raise.
    """
    origin: dict[str, Any] = {"data": hash_input(test)}
    if is_episode_file(test):
        found = read_episodes(test)
        return [
            EpisodeSet(
                name=test.stem,
                ways=max(len(one.types) for one in found),
                # One may have more mentions of each type by chance, not all of them.
                shots=min(one.count_shots() for one in found),
                types=sorted({name for one in found for name in one.types}),
                origin=origin,
                episodes=dict(enumerate(found[:count], 1)),
            )
        ]
    origin |= name_lang([test], lang)
    sampler = EpisodeSampler(read_sentences(test, lang=lang))
    sets = []
    for n in dict.fromkeys(ways):
        for k in dict.fromkeys(shots):
            drawn = {
                one: sampler.sample(n, k, query_shots=query_shots, seed=one)
                for one in range(seed, seed + count)
            }
            own = {**origin, "query_shots": query_shots or k}
            name = f"{n}-way-{k}-shot"
            sets.append(EpisodeSet(name, n, k, sampler.types, own, drawn))
    return sets


def run_tadner(
    backbones: Sequence[Backbone],
    train: Sequence[Path],
    episode_sets: Sequence[EpisodeSet],
    output: Path,
    *,
    get_name: Callable[[str], str],
    source: SourceSettings,
    settings: EpisodeSettings,
    lang: str = "en",
) -> list[Result]:
    """Train every backbone on the source types and test it on the episodes.

    backbones (Sequence[Backbone]): What both encoders of TadNER start from.
    train (Sequence[Path]): Labelled sets of the source types.
    episode_sets (Sequence[EpisodeSet]): The episodes.
    output (Path): The folder of results: for each backbone `source/`, the trained
        encoders, and `episodes/`, with a JSON for each setting, which is written as
        the episodes go on.
        What is there with the same settings is not computed again.
    get_name (Callable[[str], str]): Type -> its name.
    source (SourceSettings): How the backbones are trained.
    settings (EpisodeSettings): How they adapt.
    lang (str): Language of the tokenizer for texts.
    RETURNS (list[Result]): For each backbone and setting.
    RAISES (NunerError): N643 if there is something of other settings; N645 if the loss
        is no number; N031 if another process writes results of a backbone there, and
        what else `claimed` and `read_docs` raise.
    """
    sentences = [one for path in train for one in read_sentences(path, lang=lang)]
    of_source = {name for one in sentences for name in one.types}
    of_episodes = {name for one in episode_sets for name in one.types}
    if shared := sorted(of_source & of_episodes):
        named = shorten(", ".join(shared), 200)
        message = Warnings.W605.format(count=len(shared), types=named)
        warnings.warn(message, stacklevel=2)
    names = {name: get_name(name) for name in sorted(of_source | of_episodes)}
    results = []
    for backbone in backbones:
        made_with: dict[str, Any] = {
            "encoder": backbone.identity,
            "data": [hash_input(path) for path in train],
            **name_lang(train, lang),
            "names": {name: names[name] for name in sorted(of_source)},
            "settings": asdict(source),
            "precision": _get_precision(),
        }
        folder = check_output(output / backbone.name, folder=True)
        with claimed(folder, COMMAND):
            _train_stages(backbone, sentences, names, source, folder, made_with)
            planned = [
                Result(
                    backbone=backbone.name,
                    setting=one.name,
                    ways=one.ways,
                    shots=one.shots,
                    settings={
                        "source": made_with,
                        "episodes": one.origin,
                        "names": {name: names[name] for name in one.types},
                        "adaptation": asdict(settings),
                    },
                    episodes=[],
                )
                for one in episode_sets
            ]
            paths = [
                folder / EPISODES / _name_file(one.name, settings)
                for one in episode_sets
            ]
            # All of them first: what does not fit shows before the long part.
            begun = [one.resume(path) for one, path in zip(planned, paths, strict=True)]
            model: Tadner | None = None
            for one, result, path in zip(episode_sets, begun, paths, strict=True):
                missing = set(one.episodes) - {done.seed for done in result.episodes}
                title = f"{backbone.name}, {one.name}"
                written = time.monotonic()
                try:
                    for seed in tqdm(sorted(missing), desc=printable(title)):
                        model = model or _load(folder, source)
                        score = _score_episode(model, one, seed, names, settings)
                        result = replace(result, episodes=[*result.episodes, score])
                        if time.monotonic() - written > WRITE_EVERY:
                            result.to_disk(path)
                            written = time.monotonic()
                finally:
                    if missing and result.episodes:
                        result.to_disk(path)
                # An earlier run may have had more.
                asked = [done for done in result.episodes if done.seed in one.episodes]
                results.append(replace(result, episodes=asked))
    return results


def _name_file(setting: str, settings: EpisodeSettings) -> str:
    """Such as `5-way-1-shot.json`, or `5-way-1-shot+transductive=true.json`."""
    own, default = asdict(settings), asdict(EpisodeSettings())
    changed = [
        f"+{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in own.items()
        if value != default[key]
    ]
    return f"{setting}{''.join(changed)}.json"


def _train_stages(
    backbone: Backbone,
    sentences: Sequence[Sentence],
    names: Mapping[str, str],
    source: SourceSettings,
    folder: Path,
    made_with: dict[str, Any],
) -> None:
    """Train what an earlier run has not."""
    for stage in STAGES:
        stage_folder = folder / SOURCE / stage
        record = stage_folder / RECORD
        if record.is_file():
            found = read_json(record, ["settings"])["settings"]
            _check_same(record, found, made_with)
            continue
        with write_folder(stage_folder, command=COMMAND) as work:
            start = time.perf_counter()
            if stage == "spans":
                metrics = train_spans(backbone.source, sentences, source, work.target)
            else:
                metrics = train_types(
                    backbone.source, sentences, names, source, work.target
                )
            seconds = round(time.perf_counter() - start, 1)
            content = {"settings": made_with, **metrics, "seconds": seconds}
            text = json.dumps(mask_texts(content), ensure_ascii=False, indent=1)
            (work.target / RECORD).write_text(text + "\n", encoding="utf8")


def _load(folder: Path, source: SourceSettings) -> Tadner:
    spans, types = (folder / SOURCE / stage for stage in STAGES)
    return Tadner.from_disk(spans, types, source)


def _score_episode(
    model: Tadner,
    episodes: EpisodeSet,
    seed: int,
    names: Mapping[str, str],
    settings: EpisodeSettings,
) -> EpisodeScore:
    episode = episodes.episodes[seed]
    start = time.perf_counter()
    found = model.predict(episode, names, settings, shots=episodes.shots, seed=seed)
    gold = [sentence.find_entities() for sentence in episode.query]

    def select(
        entities: list[list[tuple[int, int, str]]], name: str
    ) -> list[list[Any]]:
        return [[one for one in found if one[2] == name] for found in entities]

    return EpisodeScore(
        seed=seed,
        support=len(episode.support),
        query=len(episode.query),
        counts={
            name: count_matches(select(found.entities, name), select(gold, name))
            for name in episode.types
        },
        spans=count_matches(
            found.spans, [[one[:2] for one in of_sentence] for of_sentence in gold]
        ),
        steps=found.steps,
        seconds=round(time.perf_counter() - start, 2),
    )


def _get_precision() -> str:
    on_cpu = get_torch_default_device().type == "cpu"
    return "bf16" if has_fast_bf16(on_cpu=on_cpu) else "fp32"


def _read_episodes(path: Path, found: Mapping[str, Any]) -> list[EpisodeScore]:
    try:
        return [_read_score(one) for one in found["episodes"]]
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise NunerError(
            Errors.N631, path=path, key="episodes", reason=error
        ) from error


def _read_score(content: Any) -> EpisodeScore:
    """RAISES (TypeError, ValueError, LookupError, AttributeError): If it is none."""
    counts = {
        name: _read_counts(found) for name, found in dict(content["counts"]).items()
    }
    one, other = content["steps"]
    return EpisodeScore(
        **{
            **content,
            "counts": counts,
            "spans": _read_counts(content["spans"]),
            "steps": (int(one), int(other)),
        }
    )


def _read_counts(found: Any) -> tuple[int, int, int]:
    right, predicted, gold = map(int, found)
    return right, predicted, gold


def _check_same(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    """RAISES (NunerError): N643 if settings of an earlier run are others."""
    # As JSON has them, and with the same masks.
    expected = json.loads(json.dumps(mask_texts(wanted)))
    # Of a stage, and of the source of a result.
    found, expected = (_go_by_hash(one) for one in (found, expected))
    if differences := ", ".join(_find_changes(found, expected)):
        raise NunerError(Errors.N643, path=path, differences=differences)


def _go_by_hash(settings: Any) -> Any:
    """Leave out what encoders are called: a folder may have two names."""
    if not isinstance(settings, dict):
        return settings
    known = ignore_names(settings)
    if "source" in known:
        known["source"] = _go_by_hash(known["source"])
    return known


def _find_changes(found: Any, expected: Any, key: str = "") -> Iterator[str]:
    """Names of settings with both values, such as "settings.rate: 1e-4, now 3e-5"."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted({*found, *expected}):
            deeper = f"{key}.{name}" if key else name
            yield from _find_changes(found.get(name), expected.get(name), deeper)
    elif found != expected:
        before, now = (shorten(str(value), 60) for value in (found, expected))
        yield f"{key or 'settings'}: {before}, now {now}"
