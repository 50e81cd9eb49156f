"""What the files of an encoder may say, checked before transformers reads them.

An encoder is data: JSON, a tokenizer and safetensors. A config of transformers can ask
for more, such as code of a repository, and sizes that no weights are there for. This
module imports no torch.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from ..errors import Errors, NunerError
from ..outputs import DISK_ERRORS

CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_JSON = "tokenizer.json"
# Names of special pieces, of older releases, that are taken over as a config is.
SPECIAL_TOKENS = "special_tokens_map.json"
ADAPTER_CONFIG = "adapter_config.json"
# Of processors and of generation, which are not loaded here; others may do so.
OTHER_CONFIGS = (
    *("processor_config.json", "preprocessor_config.json", "generation_config.json"),
)
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
# As transformers calls the parts of weights that are in several files.
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
# A tokenizer has one of these at least.
VOCABULARIES = {
    *(TOKENIZER_JSON, "vocab.txt", "vocab.json", "spm.model", "spiece.model"),
    *("sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model"),
}
# What the fast tokenizers of the architectures below save.
TOKENIZER_FILES = {
    *(*VOCABULARIES, TOKENIZER_CONFIG, SPECIAL_TOKENS),
    *("added_tokens.json", "merges.txt"),
}

# Text encoders whose code is part of transformers and that name no second model. Models
# of images or of several parts load others that their config names.
MODEL_TYPES = {
    *("albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text"),
    *("deberta", "deberta-v2", "distilbert", "electra", "ernie", "longformer"),
    *("megatron-bert", "mobilebert", "modernbert", "mpnet", "nystromformer"),
    *("rembert", "roberta", "roberta-prelayernorm", "squeezebert", "xlm-roberta"),
    *("xlm-roberta-xl",),
}
# Keys by which transformers runs code, or reads files and models of other folders. Not
# a list of all other keys that may be there: real configs have dozens that no release
# of transformers reads.
REFUSED = {
    *("auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"),
    *("code_revision", "_auto_class", "quantization_config"),
    *("transformers_weights", "configuration_files", "fast_tokenizer_files"),
    *("gguf_file", "tokenizer_object", "init_inputs", "base_model_name_or_path"),
    *("peft_config", "adapter_kwargs", "_adapter_model_path", "backbone"),
    *("backbone_config", "use_timm_backbone", "use_pretrained_backbone"),
    *("attribute_map", "sub_configs"),
}
ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flex_attention")
# "owner/repository:function", the form in which kernels are named.
CODE_REFERENCE = re.compile(r"[^/:\s]+/[^/:\s]+:[^/:\s]+")
# Names of labels, which may be any, of a head that an encoder does not have.
UNREAD = ("id2label", "label2id", "task_specific_params")
# What a config came from, which nothing is read from.
ORIGINS = ("_name_or_path", "name_or_path")
# Keys of tokenizer configs that end so and are not read.
PASSED_OVER = ("special_tokens_map_file", "added_tokens_file", "chat_template_file")
# Attributes of a tokenizer that are no data, and would be saved with its config.
OBJECTS = ("_tokenizer", "backend_tokenizer", "decoder")

MAX_JSON = 32 << 20
MAX_TOKENIZER_FILE = 64 << 20
MAX_HEADER = 16 << 20
# Sizes up to this are taken without a weight of that size: positions may be relative.
LARGE = 1 << 17
MAX_TEMPLATE = 1000
# Characters that a tokenizer may replace one with, by all of its rules one after the
# other.
MAX_GROWTH = 1000


def read_object(path: Path, *, limit: int = MAX_JSON) -> dict[str, Any]:
    """Read a JSON object.

    path (Path): The file.
    limit (int): Bytes that it may have.
    RETURNS (dict[str, Any]): Its content.
    RAISES (ValueError): If it can't be read, or is something else.
    """
    try:
        if (size := path.stat().st_size) > limit:
            raise ValueError(f"it has {size:,} bytes, and {limit:,} are read")
        content = json.loads(path.read_text(encoding="utf8"))
    except (OSError, RecursionError) as error:
        raise ValueError(describe(error)) from error
    if not isinstance(content, dict):
        raise ValueError(f"found a {type(content).__name__}, expected an object")
    return content


def read_settings(path: Path) -> dict[str, Any]:
    """Read a config file of an encoder or a tokenizer, and refuse what is no data.

    path (Path): The file.
    RETURNS (dict[str, Any]): Its content.
    RAISES (NunerError): N017 if it asks for code or other files, N018 if it is no JSON
        object.
    """
    try:
        settings = read_object(path)
    except ValueError as error:
        raise NunerError(Errors.N018, path=path, reason=error) from error
    check_settings(settings, path=path)
    return settings


def check_settings(settings: Mapping[str, Any], *, path: str | Path) -> None:
    """Refuse a config that asks for code or for files outside its folder.

    settings (Mapping[str, Any]): Its content, of which every level is looked at.
    path (str | Path): Where it is from, for the error.
    RAISES (NunerError): N017 if it does.
    """
    for key in settings:
        # transformers sets each key as an attribute.
        if str(key).startswith("__"):
            raise NunerError(Errors.N017, path=path, found=str(key)[:200])
    todo: list[tuple[str, Any]] = [("", settings)]
    while todo:
        where, value = todo.pop()
        if isinstance(value, Mapping):
            todo.extend(
                (str(key), one) for key, one in value.items() if key not in UNREAD
            )
        elif isinstance(value, list | tuple):
            todo.extend((where, one) for one in value)
        if _asks_for_more(where, value):
            found = f"{where} = {value!r}"[:200]
            raise NunerError(Errors.N017, path=path, found=found)


def _asks_for_more(key: str, value: Any) -> bool:
    if value is None or value is False or value in ("", [], {}):
        return False
    if key in REFUSED:
        return True
    if "attn_implementation" in key:
        return not (isinstance(value, bool) or value in ATTENTIONS)
    code = isinstance(value, str) and CODE_REFERENCE.fullmatch(value)
    return bool(code) and key not in ORIGINS


def check_encoder(folder: Path) -> None:
    """Look at the configs of an encoder before anything else of it is read.

    folder (Path): The folder of the encoder.
    RAISES (NunerError): N002 for a folder without config, N017 for one that asks for
        code or other files, N018 for one that is no JSON object.
    """
    if not (folder / CONFIG).is_file():
        raise NunerError(Errors.N002, path=folder, missing=CONFIG)
    if (folder / ADAPTER_CONFIG).exists():
        found = "an adapter, whose weights belong to a model of another repository"
        raise NunerError(Errors.N017, path=folder / ADAPTER_CONFIG, found=found)
    for name in (CONFIG, *OTHER_CONFIGS):
        if (folder / name).is_file():
            read_settings(folder / name)
    check_tokenizer(folder)


def check_tokenizer(folder: Path) -> None:
    """Look at the files of a tokenizer before transformers reads them.

    folder (Path): The folder of the encoder.
    RAISES (NunerError): N017 if its config asks for code or other files, N018 if it is
        no JSON object, N022 for a file that is too large.
    """
    for name in sorted(TOKENIZER_FILES):
        path = folder / name
        if path.is_file() and (size := path.stat().st_size) > MAX_TOKENIZER_FILE:
            reason = f"{name} has {size:,} bytes, and {MAX_TOKENIZER_FILE:,} are read"
            raise NunerError(Errors.N022, path=folder, reason=reason)
    for path in (folder / TOKENIZER_CONFIG, folder / SPECIAL_TOKENS):
        for key, value in (read_settings(path) if path.is_file() else {}).items():
            # transformers would open the path of another machine.
            is_file = key.endswith("_file") and key not in PASSED_OVER
            if (is_file and value is not None) or key in OBJECTS:
                found = f"{key} = {value!r}"[:200]
                raise NunerError(Errors.N017, path=path, found=found)
    if (folder / TOKENIZER_JSON).is_file():
        _check_growth(folder)


def _check_growth(folder: Path) -> None:
    """Refuse a tokenizer that makes a text longer by any factor.

    Not by example: no text shows which character it would be.
    """
    try:
        content = read_object(folder / TOKENIZER_JSON, limit=MAX_TOKENIZER_FILE)
    except ValueError as error:
        raise NunerError(Errors.N022, path=folder, reason=error) from error
    growth, rules = 1, [content.get("normalizer")]
    while rules:
        rule = rules.pop()
        if isinstance(rule, Mapping):
            if isinstance(rule.get("content"), str):
                growth *= max(len(rule["content"]), 1)
            rules.extend(rule.values())
        elif isinstance(rule, list):
            rules.extend(rule)
    if growth > MAX_GROWTH:
        reason = f"its normalizer makes more than {MAX_GROWTH:,} characters of one"
        raise NunerError(Errors.N022, path=folder, reason=reason)


def check_model_type(settings: Mapping[str, Any], *, name: str | Path) -> str:
    """Check that an architecture is one of those that are read.

    settings (Mapping[str, Any]): The content of a config.json.
    name (str | Path): What the encoder was named by, for the error.
    RETURNS (str): The name of the architecture.
    RAISES (NunerError): N001 if it is not.
    """
    found = settings.get("model_type")
    if not isinstance(found, str) or found not in MODEL_TYPES:
        reason = (
            f"Its {CONFIG} has the model_type {found!r}, and these text encoders are "
            f"read: {', '.join(sorted(MODEL_TYPES))}."
        )
        raise NunerError(Errors.N001, name=name, reason=reason)
    return found


def find_weights(folder: Path) -> list[Path]:
    """Find the files with the weights of an encoder.

    folder (Path): The folder of the encoder.
    RETURNS (list[Path]): Files of safetensors in the folder.
    RAISES (NunerError): N002 if one is missing, N015 if one has an impossible header,
        N018 or N020 if the list of files can't be used or names others, N019 if there
        are none of safetensors.
    """
    if (folder / WEIGHTS).is_file():
        names = {WEIGHTS}
    elif (folder / WEIGHTS_INDEX).is_file():
        names = _read_index(folder / WEIGHTS_INDEX)
    else:
        raise NunerError(Errors.N019, path=folder)
    files = [folder / name for name in sorted(names)]
    for file in files:
        if not file.is_file():
            raise NunerError(Errors.N002, path=folder, missing=file.name)
        check_header(file)
    return files


def _read_index(path: Path) -> set[str]:
    files = read_settings(path).get("weight_map")
    if not isinstance(files, dict) or not files:
        reason = "it has no weight_map"
        raise NunerError(Errors.N018, path=path, reason=reason)
    for name in files.values():
        if not isinstance(name, str) or not SHARD.fullmatch(name):
            expected = "model-00001-of-00002.safetensors and so on"
            raise NunerError(
                Errors.N020, source=path, found=repr(name)[:200], expected=expected
            )
    return set(files.values())


def check_header(path: Path) -> None:
    """Refuse a header that would take more memory than one of an encoder.

    path (Path): A file of safetensors.
    RAISES (NunerError): N015 for such a header.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise NunerError(Errors.N015, path=path, reason=error) from error
    if length > MAX_HEADER and path.stat().st_size > MAX_HEADER:
        reason = f"its header has {length:,} bytes, and {MAX_HEADER:,} are read"
        raise NunerError(Errors.N015, path=path, reason=reason)


def check_file_names(
    names: Iterable[Any], known: Iterable[str], *, source: str
) -> None:
    """Refuse names of files that are not on a list, before one of them is written.

    names (Iterable[Any]): The names, as they were read.
    known (Iterable[str]): Those that may be there.
    source (str): Where they are from, for the error.
    RAISES (NunerError): N020 for any other name.
    """
    known = set(known)
    for name in names:
        if not isinstance(name, str) or name not in known:
            expected = ", ".join(sorted(known))
            raise NunerError(
                Errors.N020, source=source, found=repr(name)[:200], expected=expected
            )


def find_template_fault(template: Any) -> str | None:
    """Look for what the text of a concept must not be made of.

    A format string reads attributes and makes texts as wide as it says.

    template (Any): With {name} and {description}.
    RETURNS (str | None): What is wrong with it; None if nothing is.
    """
    if not isinstance(template, str):
        return f"found a {type(template).__name__}, expected a text"
    if len(template) > MAX_TEMPLATE:
        return f"it has {len(template):,} characters, and {MAX_TEMPLATE:,} may be"
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return f"it holds more than these two, name and description: {error}"
    found = {name for _, name, _, _ in parts if name is not None}
    if more := sorted(found - {"name", "description"}):
        return f"it holds more than these two, name and description: {more[0]!r}"
    if len(found) < 2:
        return "it needs both {name} and {description}"
    if any(spec or conversion for _, _, spec, conversion in parts):
        return "it has a format, expected are {name} and {description} as they are"
    return None


def describe(error: BaseException) -> str:
    """RETURNS (str): Kind and first line of an exception."""
    text = (str(error).strip().splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def explaining_damage(part: str) -> Iterator[None]:
    """Turn whatever reading a part of a saved pipeline ends with into an error of ours.

    part (str): The part, for the error.
    RAISES (NunerError): N023 in place of any exception that is none of ours, but a disk
        or a GPU that is full: that is no damage.
    """
    try:
        yield
    except NunerError:
        raise
    except Exception as error:
        # thinc, msgpack, safetensors and torch each have exceptions of their own.
        full = isinstance(error, OSError) and error.errno in DISK_ERRORS
        if full or type(error).__name__ == "OutOfMemoryError":
            raise
        raise NunerError(Errors.N023, part=part, reason=describe(error)) from error
