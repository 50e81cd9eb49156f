"""An encoder that is trained on words: vectors of words and of names."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..encoders.batching import batch_by_length
from ..encoders.layers import has_fast_bf16, max_pieces, special_pieces

# Word pieces of padding in a pass, which costs as much as 100 to 150 pieces before it
# looks at any (see `models.windows`).
MAX_PADDING = 56
# Word pieces of a pass; more would need memory and gain nothing.
MAX_PIECES = 8192


class Pieces(NamedTuple):
    """A sentence in word pieces.

    ids (list[int]): The pieces, special ones included. *Shape:* (n_pieces,)
    firsts (list[int]): The first piece of each word, but of words at the end of a
        sentence over the limit. *Shape:* (n_words,)
    """

    ids: list[int]
    firsts: list[int]


class WordEncoder(nn.Module):
    """An encoder that gives a vector for each word and for the name of a type."""

    def __init__(self, tokenizer: Any, encoder: nn.Module, *, max_length: int) -> None:
        """tokenizer (PreTrainedTokenizerFast): Its tokenizer.

        encoder (nn.Module): An encoder of the transformers library.
        max_length (int): Word pieces of a sentence that are read, if it takes as many.
        """
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.max_length = min(max_length, max_pieces(tokenizer, encoder))
        self._around = special_pieces(tokenizer)
        self._words: dict[str, list[int]] = {}

    def cut(self, words: Sequence[str]) -> Pieces:
        """Cut words into pieces one by one, whatever stands next to them.

        words (Sequence[str]): The words of a sentence, or of the name of a type.
        RETURNS (Pieces): The pieces; a word that has none is an unknown piece.
        """
        self._cut_new(words)
        before, after = self._around
        ids, firsts = list(before), []
        for word in words:
            new = self._words[word]
            room = self.max_length - len(after) - len(ids)
            if room < 1:
                break
            firsts.append(len(ids))
            ids += new[:room]
        return Pieces([*ids, *after], firsts)

    def _cut_new(self, words: Sequence[str]) -> None:
        new = [word for word in dict.fromkeys(words) if word not in self._words]
        if not new:
            return
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        # "[SEP]" in a text is text.
        backend.encode_special_tokens = True
        # As inside a sentence: byte-level pieces carry the blank in front.
        encodings = backend.encode_batch(
            [f" {word}" for word in new], add_special_tokens=False
        )
        unknown = self.tokenizer.unk_token_id or 0
        for word, encoding in zip(new, encodings, strict=True):
            self._words[word] = encoding.ids or [unknown]

    def forward(self, sentences: Sequence[Pieces], *, layers: int) -> Tensor:
        """Encode sentences.

        sentences (Sequence[Pieces]): The sentences, at least one.
        layers (int): The mean of this many of the last layers is taken.
        RETURNS (Tensor): fp32 vectors of the words' first pieces, one sentence after
            another. *Shape:* (n_words, width)
        """
        parts = batch_by_length(
            [len(one.ids) for one in sentences],
            max_size=MAX_PIECES,
            max_padding=MAX_PADDING,
        )
        vectors: list[Tensor] = [torch.empty(0)] * len(sentences)
        device = next(self.encoder.parameters()).device
        fast = has_fast_bf16(on_cpu=device.type == "cpu")
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            for part in parts:
                states = self._run([sentences[i].ids for i in part], layers, device)
                for i, state in zip(part, states, strict=True):
                    vectors[i] = state[sentences[i].firsts]
        return torch.cat(vectors).float()

    def encode_names(self, names: Sequence[str], *, layers: int) -> Tensor:
        """Encode names of types by the special piece in front of them.

        names (Sequence[str]): The names, at least one.
        layers (int): As for `forward`.
        RETURNS (Tensor): fp32 vectors. *Shape:* (n_names, width)
        """
        pieces = (self.cut(name.split()) for name in names)
        return self([Pieces(one.ids, [0]) for one in pieces], layers=layers)

    def _run(
        self, rows: Sequence[list[int]], layers: int, device: torch.device
    ) -> Tensor:
        """*Shape:* (n_sentences, longest, width)"""
        longest = max(map(len, rows))
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor(
            [[*row, *[pad] * (longest - len(row))] for row in rows], device=device
        )
        lengths = torch.tensor([[len(row)] for row in rows], device=device)
        mask = (torch.arange(longest, device=device) < lengths).long()
        output = self.encoder(
            input_ids=ids,
            attention_mask=mask,
            output_hidden_states=layers > 1,
            return_dict=True,
        )
        last: Tensor = output.last_hidden_state
        if layers == 1:
            return last
        # Some architectures norm the last layer only in last_hidden_state.
        states = [*output.hidden_states[-layers:-1], last]
        return torch.stack(states).float().mean(dim=0)
