"""Loading a Hugging Face encoder; its layers, limits and freezing."""

import contextlib
import copy
import hashlib
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import srsly
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_MAPPING,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_utils import no_init_weights

from ..errors import Errors, NunerError
from .names import resolve_weights
from .safety import (
    CONFIG,
    LARGE,
    REFUSED,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    UNREAD,
    VOCABULARIES,
    check_model_type,
    check_settings,
    check_tokenizer,
    describe,
    find_weights,
    read_settings,
)

# Stands for "all layers" where a number of layers is asked for.
ALL = -1
# What transformers needs to make a fast tokenizer of a SentencePiece model.
CONVERTERS = ("sentencepiece", "protobuf")
# What a panic of the tokenizers in Rust is called.
PANIC = "PanicException"
# Keys of configs that transformers has own names for, and that it sets from them.
OWN_KEYS = {
    *("model_type", "name_or_path", "num_labels", "output_attentions"),
    "_attn_implementation",
}
# How attention is computed and in which precision is for whoever loads an encoder.
NOT_TAKEN = {
    *("_attn_implementation", "_attn_implementation_internal", "attn_implementation"),
    *("_attn_implementation_autoset", "torch_dtype", "_name_or_path", "name_or_path"),
    "_commit_hash",
}
MAX_LABELS = 100_000
# Word pieces; one that is not known becomes some bytes, with a blank in front.
MOST_OF_A_LETTER = 16
# Weights of a pooler may be missing, which nothing here reads.
FREE_WEIGHTS = 1 << 22
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def load_encoder(name: str | Path, *, attention: str | None = None) -> tuple[Any, Any]:
    """Load an encoder and its tokenizer.

    Files are read as data alone, and sizes are checked before memory is taken for them.

    name (str | Path): A folder, a hub name, `package:NAME/PATH`, or "default".
    attention (str | None): How transformers shall compute attention ("eager", "sdpa");
        None leaves it to the library.
    RETURNS (tuple): The fast tokenizer and the model, in fp32 and evaluation mode.
    RAISES (NunerError): N001, N002, N012 or N013 if it can't be found, N015 if its
        weights can't be read, N007 if it has no fast tokenizer, whose character offsets
        everything here rests on, N011 if a package is missing to make one; what
        `check_encoder`, `find_weights` and `build_encoder` raise; N021 if weights are
        missing, N022 if the tokenizer does not belong to them.
    """
    folder = Path(resolve_weights(name))
    try:
        tokenizer = load_tokenizer(folder)
    except NunerError:
        raise
    except (OSError, ValueError, ImportError) as error:
        # What can't be found is an OSError, a folder without tokenizer an ImportError
        # of what could convert one. The first line says what, the rest is advice that
        # does not fit here.
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        wanted = any(package in str(error).lower() for package in CONVERTERS)
        # transformers asks for these packages where there is no tokenizer at all, too.
        if wanted and any(folder.glob("*.model")):
            raise NunerError(Errors.N011, name=name, reason=reason) from error
        if any((folder / file).is_file() for file in TOKENIZER_FILES):
            raise NunerError(Errors.N022, path=folder, reason=reason) from error
        raise NunerError(Errors.N001, name=name, reason=reason) from error
    config = read_config(folder)
    weights: dict[str, Tensor] = {}
    for path in find_weights(folder):
        try:
            weights |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise NunerError(Errors.N015, path=path, reason=error) from error
    model, missing = build_encoder(config, weights, path=folder, attention=attention)
    if missing:
        reason = f"{len(missing)} are missing, such as {missing[0]}"
        raise NunerError(Errors.N021, path=folder, reason=reason)
    check_together(tokenizer, model, path=folder)
    # Where transformers puts it; `nuner.json` is read from there.
    model.config.name_or_path = str(folder)
    return tokenizer, model


def read_config(folder: str | Path) -> PretrainedConfig:
    """Read the config of an encoder.

    folder (str | Path): Its folder.
    RETURNS (PretrainedConfig): The config.
    RAISES (NunerError): What `make_config` and `read_settings` raise.
    """
    path = Path(folder) / CONFIG
    return make_config(read_settings(path), path=path)


def make_config(settings: Mapping[str, Any], *, path: str | Path) -> PretrainedConfig:
    """Make the config of an encoder from what a file says.

    settings (Mapping[str, Any]): Its keys and values.
    path (str | Path): Where they are from, for the error.
    RETURNS (PretrainedConfig): The config. How attention is computed, in which
        precision and from where it came is not taken over.
    RAISES (NunerError): N001 if the architecture is not read, N017 if it asks for code,
        N021 if a value is impossible.
    """
    check_settings(settings, path=path)
    config_class = CONFIG_MAPPING[check_model_type(settings, name=path)]
    for key in settings:
        if hasattr(config_class, str(key)) and key not in OWN_KEYS:
            found = f"{key}, a name of transformers' own code"
            raise NunerError(Errors.N017, path=path, found=found)
    # Of what is refused only empty values are left.
    left_out = {*NOT_TAKEN, *REFUSED, *UNREAD}
    # Numbers that no pipeline can be saved with, such as the 10 ** 30 for "no limit" of
    # tokenizers. Of those that make something `_check_sizes` refuses them.
    known = inspect.signature(config_class.__init__).parameters
    left_out |= {
        key
        for key, value in settings.items()
        if key not in known and type(value) is int and value.bit_length() > 63
    }
    taken = {key: settings[key] for key in settings if key not in left_out}
    # Whoever sets this many labels has them listed, and an encoder has none.
    if taken.get("num_labels", 0) not in range(MAX_LABELS):
        raise _impossible(path, f"num_labels is {taken['num_labels']!r}"[:200])
    try:
        config = config_class.from_dict(taken)
        # As it is saved with a pipeline, which is to work after hours of training, too.
        srsly.msgpack_dumps(config.to_dict())
        return config
    except Exception as error:
        raise _impossible(path, describe(error)) from error


def build_encoder(
    config: PretrainedConfig,
    weights: dict[str, Tensor],
    *,
    path: str | Path,
    attention: str | None = None,
) -> tuple[Any, list[str]]:
    """Make an encoder of its config and weights.

    config (PretrainedConfig): As `make_config` gives it.
    weights (dict[str, Tensor]): Name -> weight; others than those of the encoder may be
        there, such as those of a head for masked words.
    path (str | Path): Where they are from, for the error.
    attention (str | None): As for `load_encoder`.
    RETURNS (tuple): The model, in fp32 and evaluation mode, and the names of weights
        that it has and that are not there. A pooler, which nothing here reads, may be
        missing.
    RAISES (NunerError): N021 if the config and the weights don't fit, or a weight is
        not a number.
    """
    model_class: Any = MODEL_MAPPING[type(config)]
    _check_sizes(config, weights, path)
    try:
        # Without memory: what is counted is what would be taken.
        with torch.device("meta"), no_init_weights():
            empty = model_class(copy.deepcopy(config))
        needed = sum(weight.numel() for weight in empty.parameters())
    except Exception as error:
        raise _impossible(path, describe(error)) from error
    found = sum(weight.numel() for weight in weights.values())
    if needed > 2 * found + FREE_WEIGHTS:
        reason = f"config.json describes {needed:,} numbers, and there are {found:,}"
        raise NunerError(Errors.N021, path=path, reason=reason)
    try:
        model, info = model_class.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            torch_dtype=torch.float32,
            attn_implementation=attention,
            output_loading_info=True,
        )
    except (
        *(ArithmeticError, AttributeError, LookupError),
        *(RuntimeError, TypeError, ValueError),
    ) as error:
        # Of other shapes, it has a list after the first line.
        raise _impossible(path, " ".join(str(error).split())[:300]) from error
    known = {NUMBER.sub("N", key) for key in model.state_dict()}
    for key in info["unexpected_keys"]:
        # Of a head it would be no matter; of a layer it would be left out in silence.
        if NUMBER.search(key) and NUMBER.sub("N", key) in known:
            reason = f"there is {key}, and config.json has no such layer"
            raise NunerError(Errors.N021, path=path, reason=reason)
    for key, weight in model.named_parameters():
        if weight.dtype != torch.float32 or not _is_finite(weight.detach()):
            reason = f"{key} holds what is not a number, or an infinite one"
            raise NunerError(Errors.N021, path=path, reason=reason)
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    return model.eval(), sorted(missing)


def _is_finite(weight: Tensor) -> bool:
    # The least and the largest: a mask of all would take as long as to load them.
    return not weight.numel() or bool(torch.stack(weight.aminmax()).isfinite().all())


def _check_sizes(
    config: PretrainedConfig, weights: Mapping[str, Tensor], path: str | Path
) -> None:
    """Refuse numbers of a config that no weight is there for, before they are used."""
    if getattr(config, "num_hidden_layers", 0) == 0:
        raise _impossible(path, "it has no layers")
    largest = max((size for one in weights.values() for size in one.shape), default=0)
    # Others that a file has are not used to make anything.
    known = inspect.signature(type(config).__init__).parameters
    for key, value in config.to_dict().items():
        if key not in known or "theta" in key:
            continue
        # A layer has weights, so that there are no more layers than these.
        of_layers = any(part in key for part in ("layers", "group", "networks"))
        limit = len(weights) if of_layers else max(largest, LARGE)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, float) and not math.isfinite(one):
                raise _impossible(path, f"{key} is {one}")
            if type(one) is int and one > limit:
                reason = f"{key} is {str(one)[:50]}, and {limit} is the limit"
                raise _impossible(path, reason)


def _impossible(path: str | Path, reason: str) -> NunerError:
    return NunerError(Errors.N021, path=path, reason=f"in config.json: {reason}")


def load_tokenizer(folder: Path) -> Any:
    """Load a fast tokenizer.

    folder (Path): The folder of the encoder.
    RETURNS (PreTrainedTokenizerFast): The tokenizer, without a template of chats.
    RAISES (NunerError): N007 if it has no fast one, N017 or N018 for its config, N022
        if its files can't be used.
    RAISES (OSError | ValueError | ImportError): If there is none.
    """
    check_tokenizer(folder)
    for name in (TOKENIZER_CONFIG, CONFIG):
        path = folder / name
        found = read_settings(path).get("tokenizer_class") if path.is_file() else None
        if found is not None:
            _check_tokenizer_class(found, folder)
            break
    if not any((folder / name).is_file() for name in VOCABULARIES):
        # transformers would say that it needs a package, or nothing that helps.
        expected = ", ".join(sorted(VOCABULARIES))
        raise OSError(f"There is no tokenizer in it: none of {expected}.")
    with _explaining_tokenizer(folder, passing=(OSError, ValueError, ImportError)):
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, use_fast=True, trust_remote_code=False
            )
        except ImportError as error:
            # Whatever the error, transformers wants this package to look at it.
            cause = error.__context__
            if "protobuf" in str(error) and cause is not None:
                raise cause from None
            raise
    if not getattr(tokenizer, "is_fast", False):
        found = type(tokenizer).__name__
        raise NunerError(Errors.N007, name=folder, found=found)
    # Of a dict of them the names would be those of files when the tokenizer is saved.
    tokenizer.chat_template = None
    return tokenizer


@contextlib.contextmanager
def _explaining_tokenizer(
    path: str | Path, *, passing: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn what using a damaged tokenizer ends with into N022."""
    try:
        yield
    except passing:
        raise
    except BaseException as error:
        # The library in Rust raises plain exceptions, and panics are none of them.
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        reason = describe(error)
        raise NunerError(Errors.N022, path=path, reason=reason) from error


def _check_tokenizer_class(name: Any, folder: Path) -> None:
    """transformers would take any name of its own, and others after a question."""
    text = str(name)
    names = (text if text.endswith("Fast") else f"{text}Fast", text)
    found = (getattr(transformers, one, None) for one in names if one.isidentifier())
    if not any(
        isinstance(one, type) and issubclass(one, PreTrainedTokenizerFast)
        for one in found
    ):
        raise NunerError(Errors.N007, name=folder, found=text[:100])


def check_together(tokenizer: Any, model: Any, *, path: str | Path) -> None:
    """Check that a tokenizer belongs to an encoder, and that both can be used.

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    model (PreTrainedModel): The encoder.
    path (str | Path): Where they are from, for the error.
    RAISES (NunerError): N021 if the encoder makes no vectors of a text, N022 if the
        tokenizer gives word pieces that have no embedding, or takes texts of no length.
    """
    rows = len(model.get_input_embeddings().weight)
    with _explaining_tokenizer(path):
        pieces = max(tokenizer.get_vocab().values(), default=0)
        before, after = special_pieces(tokenizer)
        limit = max_pieces(tokenizer, model)
        letter = len(tokenizer("a", add_special_tokens=False)["input_ids"])
    highest = max([pieces, *before, *after])
    if highest >= rows:
        reason = f"its pieces go up to number {highest}, the embeddings to {rows - 1}"
        raise NunerError(Errors.N022, path=path, reason=reason)
    if letter > MOST_OF_A_LETTER:
        reason = f"one letter becomes {letter:,} word pieces"
        raise NunerError(Errors.N022, path=path, reason=reason)
    if limit <= len(before) + len(after):
        reason = f"it takes {limit} word pieces at once (model_max_length)"
        raise NunerError(Errors.N022, path=path, reason=reason)
    # A text of hardly any length shows what a value of the config can break.
    ids = torch.tensor([[*before, 0, *after]])
    try:
        with torch.inference_mode():
            output = model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                output_hidden_states=True,
                return_dict=True,
            )
        states = [*output.hidden_states, output.last_hidden_state]
        finite = all(state.isfinite().all() for state in states)
    except Exception as error:
        raise _impossible(path, describe(error)) from error
    if not finite:
        raise _impossible(path, "with these values the vectors are no numbers")


def hash_weights(model: nn.Module) -> str:
    """RETURNS (str): The SHA-256 of the weights of an encoder, in hexadecimal."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        values = parameter.detach().cpu().contiguous().view(torch.uint8)
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def has_fast_bf16(*, on_cpu: bool) -> bool:
    """Check whether the device multiplies matrices faster in bf16 than in fp32.

    on_cpu (bool): Whether the processor is meant, or the GPU.
    RETURNS (bool): True for AMX, AVX512-BF16 and GPUs from Ampere on.
    """
    if not on_cpu:
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    # No public names: a release of torch without them predicts in fp32.
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    checks = [getattr(torch.cpu, name, None) for name in names]
    return any(check is not None and check() for check in checks)


def encoder_layers(model: nn.Module) -> nn.ModuleList:
    """Find the list of transformer layers, whatever the architecture calls it.

    model (nn.Module): An encoder of the transformers library.
    RETURNS (nn.ModuleList): Its layers, from the bottom up.
    RAISES (NunerError): N008 if there is no list of `num_hidden_layers` modules.
    """
    config: Any = model.config
    count = config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise NunerError(Errors.N008, found=type(model).__name__, count=count)


def layer_of_parameters(model: nn.Module) -> dict[str, int]:
    """Map each parameter to its layer.

    model (nn.Module): An encoder of the transformers library.
    RETURNS (dict[str, int]): Parameter name -> index of its layer; -1 for embeddings
        and what else lies below the first layer, the number of layers for what lies
        above the last one (a pooler, a final norm).
    """
    layers = encoder_layers(model)
    index_of = {
        id(parameter): index
        for index, layer in enumerate(layers)
        for parameter in layer.parameters()
    }
    below = {id(p) for module in _embeddings(model) for p in module.parameters()}
    return {
        name: -1 if id(parameter) in below else index_of.get(id(parameter), len(layers))
        for name, parameter in model.named_parameters()
    }


def freeze(model: nn.Module, layers: int, *, embeddings: bool = True) -> int:
    """Take the bottom of an encoder out of training.

    model (nn.Module): An encoder of the transformers library; changed in place.
    layers (int): How many layers to freeze, from the bottom up; -1 for everything.
    embeddings (bool): Whether the embeddings are frozen too.
    RETURNS (int): The number of single weights that are frozen.
    RAISES (NunerError): N009 if the encoder has fewer layers.
    """
    count = len(encoder_layers(model))
    if layers > count or layers < ALL:
        raise NunerError(Errors.N009, layers=layers, count=count)
    layer_of = layer_of_parameters(model)
    frozen = 0
    for name, parameter in model.named_parameters():
        layer = layer_of[name]
        fixed = layers == ALL or (embeddings if layer < 0 else layer < layers)
        parameter.requires_grad_(not fixed)
        frozen += parameter.numel() if fixed else 0
    return frozen


def set_training(model: nn.Module) -> None:
    """Switch to training mode, but keep frozen parts free of dropout.

    model (nn.Module): An encoder; changed in place. Modules that hold no weight to
        train stay in evaluation mode if they lie in a frozen layer.
    """
    model.train()
    for part in [*_embeddings(model), *encoder_layers(model)]:
        if not any(parameter.requires_grad for parameter in part.parameters()):
            part.eval()


def set_dropout(model: nn.Module, probability: float) -> None:
    """Change the dropout of an encoder; its config keeps that of later training.

    model (nn.Module): An encoder of the transformers library; changed in place.
    probability (float): Of a value to be dropped.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        # Fused attention takes a number instead of a module.
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, probability)


def max_pieces(tokenizer: Any, model: nn.Module) -> int:
    """Get the most word pieces, special ones included, that an encoder takes at once.

    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    model (nn.Module): The encoder.
    RETURNS (int): The smaller of what the position embeddings and the tokenizer allow.
    """
    limit = int(tokenizer.model_max_length)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from behind the padding index.
            used = 0 if module.padding_idx is None else module.padding_idx + 1
            return min(limit, module.num_embeddings - used)
    # Relative positions have no hard limit; longer texts are outside the training.
    return min(limit, int(getattr(model.config, "max_position_embeddings", 512)))


def special_pieces(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Get the special word pieces before and after a text.

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    RETURNS (tuple[list[int], list[int]]): Ids before and ids after.
    """
    # Asked by example: `build_inputs_with_special_tokens` knows nothing of templates
    # that stand only in tokenizer.json.
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    start = next(
        i for i in range(len(full) - len(bare) + 1) if full[i : i + len(bare)] == bare
    )
    return full[:start], full[start + len(bare) :]


def _embeddings(model: nn.Module) -> list[nn.Module]:
    """Modules of embeddings, and what all layers share (DeBERTa, MPNet positions)."""
    inside_layers = {id(m) for m in encoder_layers(model).modules()}
    outside = {n: m for n, m in model.named_modules() if id(m) not in inside_layers}
    found = []
    for name, module in outside.items():
        parent, _, own = name.rpartition(".")
        # DeBERTa norms its relative embeddings with a layer next to them.
        norms_them = own == "LayerNorm" and f"{parent}.rel_embeddings" in outside
        shared = own.endswith(("embeddings", "relative_attention_bias"))
        if shared or norms_them:
            found.append(module)
    return found
