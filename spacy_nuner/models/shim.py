"""The backbone's weights for thinc: freezing, learning rates, cache, saving."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import srsly
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from thinc.api import (
    ArgsKwargs,
    Optimizer,
    PyTorchShim,
    Shim,
    get_torch_default_device,
    torch2xp,
    xp2torch,
)
from torch import nn

from ..encoders.folder import is_layer_list
from ..encoders.layers import (
    ALL,
    build_encoder,
    check_together,
    freeze,
    layer_of_parameters,
    load_tokenizer,
    make_config,
    max_pieces,
    set_training,
    special_pieces,
)
from ..encoders.safety import TOKENIZER_FILES, check_file_names, explaining_damage
from ..errors import Errors, NunerError
from .precision import (
    HiddenLayers,
    Precision,
    PredictionCopy,
    choose_precision,
    weights_version,
)

# Word pieces whose vectors are cached while a head is trained on a frozen encoder: 3 KB
# each for two hidden layers of width 384 in fp32, half of it in bf16.
MAX_CACHED_PIECES = 100_000


# The most word pieces of a window. Longer ones find no more in long sentences, and less
# where nothing tells where sentences end (docs/results.md, "Documents").
WINDOW = 64


class VectorCache:
    """Vectors of texts by their word pieces, up to a number of pieces.

    When it is full it takes no more, and drops none: epochs go through the texts in
    turns, so that the oldest is the next to be asked for. Texts that are only predicted
    on, as in evaluations, leave half of the room to those that are learned from.
    """

    def __init__(self) -> None:
        self.n_pieces = 0
        self._vectors: dict[object, torch.Tensor] = {}

    def get(self, key: object) -> torch.Tensor | None:
        """Look up a text by the ids of its pieces and where its sentences begin.
        *Shape:* (n_pieces, width)
        """
        return self._vectors.get(key)

    def add(self, key: object, vectors: torch.Tensor, *, is_train: bool) -> None:
        """Copy the vectors of a text if there is room. *Shape:* (n_pieces, width)"""
        room = MAX_CACHED_PIECES if is_train else MAX_CACHED_PIECES // 2
        fits = self.n_pieces + len(vectors) <= room
        if key not in self._vectors and fits:
            self._vectors[key] = vectors.clone()
            self.n_pieces += len(vectors)

    def __reduce__(self) -> tuple[type["VectorCache"], tuple[()]]:
        # A copy or pickle starts empty: what is in it can be computed again.
        return VectorCache, ()


class BackboneShim(PyTorchShim):
    """Holds encoder and tokenizer, and leaves frozen layers as they are."""

    def __init__(
        self,
        *,
        hidden_layers: Sequence[int] | None,
        freeze_layers: int,
        learn_rate_scale: float | Sequence[float],
        by_sentence: bool,
        window: int | None,
        max_batch_pieces: int,
        precision: Precision,
    ) -> None:
        """See `spacy_nuner.Backbone.v1` for the settings. The encoder comes by
        `set_encoder` or `from_bytes`.
        """
        super().__init__(None)
        # Not attrs of the model, which are saved: what `spacy.load(..., config=...)`
        # sets shall hold.
        self.hidden_layers = hidden_layers and list(hidden_layers)
        self.freeze_layers = freeze_layers
        self.learn_rate_scale = learn_rate_scale
        self.by_sentence = by_sentence
        self.window = window
        self.max_batch_pieces = max_batch_pieces
        self.precision: Precision = precision
        self.tokenizer: Any = None
        # Ids of the special pieces before and after a text; the most that fit at once.
        self.special: tuple[list[int], list[int]] = ([], [])
        self.limit = 0
        self.frozen_weights = 0
        self._scale_of: dict[str, float] = {}
        self._has_gradient = False
        self._prediction_copy = PredictionCopy()
        self._cache: VectorCache | None = None
        self._cached_state: object = None

    @property
    def encoder(self) -> Any:
        """RETURNS (PreTrainedModel | None): The encoder as the transformers library has
        it; None before there is one.
        """
        return None if self._model is None else self._model.encoder

    @property
    def all_frozen(self) -> bool:
        """RETURNS (bool): Whether nothing of the encoder is to be trained."""
        return self.freeze_layers == ALL

    def set_encoder(self, tokenizer: Any, encoder: nn.Module) -> None:
        """Take over an encoder and freeze its bottom layers.

        tokenizer (PreTrainedTokenizerFast): Its tokenizer.
        encoder (PreTrainedModel): The encoder.
        """
        self.tokenizer = tokenizer
        # With the embeddings, also where no layer is frozen.
        self.frozen_weights = freeze(encoder, self.freeze_layers)
        self._model = HiddenLayers(encoder, self.hidden_layers or [-1])
        with torch.inference_mode(mode=False):
            self._model.to(get_torch_default_device())
        self._model.eval()
        self._scale_of = self._get_scales()
        # Weights of another encoder may come to lie where these lay.
        self._cache, self._prediction_copy = None, PredictionCopy()
        self.special = special_pieces(tokenizer)
        self.limit = max_pieces(tokenizer, encoder)

    def get_window(self) -> tuple[int, int]:
        """Get the length of windows.

        RETURNS (tuple[int, int]): The most word pieces of a window, without the special
            ones, and how many pieces on the next window starts.
        RAISES (NunerError): N404 if the encoder takes no windows of this size.
        """
        special = sum(map(len, self.special))
        window = min(self.limit, WINDOW) if self.window is None else self.window
        size = window - special
        if size < 1 or window > self.limit:
            raise NunerError(
                Errors.N404, window=window, lowest=special + 1, limit=self.limit
            )
        return size, max(size * 3 // 4, 1)

    @property
    def cache(self) -> VectorCache | None:
        """RETURNS (VectorCache | None): Vectors of the texts seen so far. None before
        `start_cache`: who goes through texts once has no use for it.
        """
        # What the vectors of a text depend on besides the text.
        state = self.precision, self.window, weights_version(self._model)
        if self._cache is not None and self._cached_state != state:
            self._cache = VectorCache()
        self._cached_state = state
        return self._cache

    def start_cache(self) -> None:
        """Cache the vectors of texts from now on, if the whole encoder is frozen."""
        if self._cache is None and self.all_frozen:
            self._cache = VectorCache()

    def _get_scales(self) -> dict[str, float]:
        layer_of = layer_of_parameters(self.encoder)
        count = self.encoder.config.num_hidden_layers
        scale = self.learn_rate_scale
        each = [scale] * count if isinstance(scale, int | float) else scale
        if len(each) != count:
            raise NunerError(Errors.N402, found=len(each), expected=count)
        # Embeddings take the rate of the first layer, a pooler that of the last.
        return {
            f"encoder.{name}": float(each[min(max(layer, 0), count - 1)])
            for name, layer in layer_of.items()
        }

    def copy(self) -> "BackboneShim":
        """RETURNS (BackboneShim): A copy that the optimizer knows as another one."""
        copied = super().copy()
        copied.id = Shim(None).id
        return copied

    def __call__(self, inputs: ArgsKwargs, is_train: bool) -> Any:
        # A frozen encoder needs neither dropout nor a graph.
        return super().__call__(inputs, is_train and not self.all_frozen)

    def predict(self, inputs: ArgsKwargs) -> Any:
        """Run the encoder without gradient and dropout.

        inputs (ArgsKwargs): The arguments of `HiddenLayers`.
        RETURNS (Tensor): In fp32. *Shape:* (pieces, width * hidden layers)
        """
        return self.compute(inputs).float()

    def compute(self, inputs: ArgsKwargs) -> torch.Tensor:
        """Run the encoder and leave the vectors in the precision they were made in.

        inputs (ArgsKwargs): The arguments of `HiddenLayers`.
        RETURNS (Tensor): *Shape:* (pieces, width * hidden layers)
        """
        self._model.eval()
        model, precision = self._model, choose_precision(self.precision, self.device)
        if precision != "fp32":
            model = self._prediction_copy.get(model, precision)
        with torch.inference_mode():
            vectors: torch.Tensor = model(*inputs.args, **inputs.kwargs)
        return vectors

    def begin_update(self, inputs: ArgsKwargs) -> Any:
        """Run the encoder with a graph from the first layer that is trained."""
        set_training(self.encoder)
        output = self._model(*inputs.args, **inputs.kwargs)

        def backprop(grads: ArgsKwargs) -> ArgsKwargs:
            torch.autograd.backward(*grads.args, **grads.kwargs)
            self._has_gradient = True
            return inputs

        return output, backprop

    def finish_update(self, optimizer: Optimizer) -> None:
        """Let the optimizer change the weights, each layer at its own rate.

        optimizer (Optimizer): The optimizer of the pipeline.
        """
        if not self._has_gradient:
            # Momentum and decay would move weights that nothing was learned for.
            return
        self._has_gradient = False
        for name, weight in self._model.named_parameters():
            if weight.grad is None or not weight.requires_grad:
                continue
            values: Any = torch2xp(weight.data)
            gradient: Any = torch2xp(weight.grad)
            changed, _ = optimizer(
                (self.id, name),
                values,
                gradient,
                lr_scale=self._scale_of[name],
            )
            weight.data = xp2torch(changed, device=weight.device)
            # Not set to None: gradients allocated anew at each step fragment the heap,
            # which grows by some 25 MB a step.
            weight.grad.zero_()
        self._model.unseen_changes += 1

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): Config, tokenizer files and weights (safetensors)."""
        if self._model is None:
            return srsly.msgpack_dumps({})
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_pretrained(folder)
            paths = [Path(folder) / name for name in sorted(TOKENIZER_FILES)]
            files = {path.name: path.read_bytes() for path in paths if path.is_file()}
        weights = {
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in self.encoder.state_dict().items()
        }
        config = self.encoder.config.to_dict()
        # Where it was on this machine.
        config.pop("_name_or_path", None)
        return srsly.msgpack_dumps(
            {
                "hidden_layers": self.hidden_layers,
                "config": config,
                "tokenizer": files,
                "weights": save_safetensors(weights),
            }
        )

    def from_bytes(self, bytes_data: bytes) -> "BackboneShim":
        """Load what `to_bytes` made, and freeze again.

        bytes_data (bytes): The saved shim.
        RETURNS (BackboneShim): Itself.
        RAISES (NunerError): N020 for files that belong to no tokenizer, N023 for what
            is no saved shim, N401 for layers that the encoder does not have, N403 if
            weights of it are missing; what `make_config`, `build_encoder`,
            `load_tokenizer` and `check_together` raise.
        """
        # As for `init` of the backbone.
        with explaining_damage("backbone"), torch.inference_mode(mode=False):
            msg = srsly.msgpack_loads(bytes_data)
            if msg:
                self._take_over(**msg)
        return self

    def _take_over(
        self, *, hidden_layers: Any, config: Any, tokenizer: Any, weights: Any
    ) -> None:
        source = "the saved backbone"
        check_file_names(tokenizer, TOKENIZER_FILES, source=source)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in tokenizer.items():
                (Path(folder) / name).write_bytes(content)
            loaded = load_tokenizer(Path(folder))
        # Not by way of a file, which srsly would round: an epsilon of 1e-12 would be 0.
        made = make_config(config, path=source)
        encoder, missing = build_encoder(made, load_safetensors(weights), path=source)
        if missing:
            raise NunerError(Errors.N403, count=len(missing), example=missing[0])
        check_together(loaded, encoder, path=source)
        if hidden_layers is not None:
            check_hidden_layers(hidden_layers, encoder.config.num_hidden_layers)
        self.hidden_layers = hidden_layers
        self.set_encoder(loaded, encoder)


def check_hidden_layers(found: Any, depth: int) -> None:
    """Refuse layers that an encoder does not have.

    found (list[int]): Indices of hidden layers, -1 for the last.
    depth (int): The number of the encoder's layers.
    RAISES (NunerError): N401 for any other index, the last layer not in front, or one
        that occurs twice.
    """
    if not is_layer_list(found, depth):
        shown = repr(found)[:200]
        raise NunerError(Errors.N401, found=shown, count=depth, lowest=depth + 1)
