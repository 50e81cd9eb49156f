"""Loading a Hugging Face encoder; its layers, limits and freezing."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel, AutoTokenizer

from ..errors import Errors, NunerError
from .names import resolve_weights

# Stands for "all layers" where a number of layers is asked for.
ALL = -1
# What transformers needs to make a fast tokenizer of a SentencePiece model.
CONVERTERS = ("sentencepiece", "protobuf")


def load_encoder(name: str | Path, *, attention: str | None = None) -> tuple[Any, Any]:
    """Load an encoder and its tokenizer.

    name (str | Path): A folder, a hub name, `package:NAME/PATH`, or "default".
    attention (str | None): How transformers shall compute attention ("eager", "sdpa");
        None leaves it to the library.
    RETURNS (tuple): The fast tokenizer and the model, in fp32 and evaluation mode.
    RAISES (NunerError): N001, N002, N012 or N013 if it can't be found, N015 if its
        weights can't be read, N007 if it has no fast tokenizer, whose character offsets
        everything here rests on, N011 if a package is missing to make one.
    """
    source = resolve_weights(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
        model = AutoModel.from_pretrained(
            source, torch_dtype=torch.float32, attn_implementation=attention
        )
    except SafetensorError as error:
        raise NunerError(Errors.N015, path=source, reason=error) from error
    except (OSError, ValueError, ImportError) as error:
        # What can't be found or downloaded is an OSError, an unknown architecture a
        # ValueError, a folder without tokenizer an ImportError of what could convert
        # one. The first line says what, the rest is advice that does not fit here.
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        convertible = not Path(source).is_dir() or any(Path(source).glob("*.model"))
        wanted = any(package in str(error).lower() for package in CONVERTERS)
        # transformers asks for these packages where there is no tokenizer at all, too.
        if wanted and convertible:
            raise NunerError(Errors.N011, name=name, reason=reason) from error
        raise NunerError(Errors.N001, name=name, reason=reason) from error
    if not tokenizer.is_fast:
        raise NunerError(Errors.N007, name=name, found=type(tokenizer).__name__)
    return tokenizer, model.eval()


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
