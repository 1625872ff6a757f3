"""Small networks, one per way of building them, with example inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

Examples: TypeAlias = "tuple[torch.Tensor, ...] | dict[str, torch.Tensor]"

WORDS: Final = 50


class Function(nn.Module):
    """Applies a function to its inputs and layers."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.layers)


def inverted_residual(channels: int, out_channels: int, stride: int) -> nn.Module:
    """MobileNetV2's block: widen, depthwise, narrow (Sandler et al., arXiv 1801.04381)."""
    wide = channels * 4
    layers = nn.Sequential(
        nn.Conv2d(channels, wide, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU6(inplace=True),
        nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU6(inplace=True),
        nn.Conv2d(wide, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )
    if stride == 1 and channels == out_channels:
        return Function(lambda x, inner: x + inner(x), layers)
    return layers


def mobilenet() -> tuple[nn.Module, Examples]:
    """A grouped and depthwise net with trained-looking batch norm."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        inverted_residual(8, 8, 1),
        inverted_residual(8, 16, 2),
        nn.Conv2d(16, 16, 3, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, 10),
    )
    randomize_statistics(model)
    return model, (torch.randn(2, 3, 16, 16),)


def randomize_statistics(model: nn.Module) -> None:
    """Batch norms as after training, so that swapping two of them would show."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)


class TiedLanguageModel(nn.Module):
    """One matrix for words in and words out; answers with a dictionary that holds a list."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.scores = nn.Linear(8, WORDS, bias=False)
        self.scores.weight = self.words.weight
        self.register_buffer("unused", torch.ones(3))

    def forward(self, ids: torch.Tensor) -> dict[str, Any]:
        hidden = self.words(ids)
        return {"scores": self.scores(hidden), "pooled": [hidden.mean(1), hidden.amax(1)], "nothing": None}


class VisionTransformer(nn.Module):
    """Patches, class token, position table, packed attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 17, 16))
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.scores = nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> Any:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(image.shape[0], -1, -1), x], 1) + self.places
        return self.scores((x + self.attention(x, x, x, need_weights=False)[0])[:, 0])


class Causal(nn.Module):
    """A transformer layer with a mask of minus infinity as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(6))

    def forward(self, ids: torch.Tensor) -> Any:
        return self.layer(self.words(ids), src_mask=self.mask, is_causal=True)


class Products(nn.Module):
    """Weights as matrices [inputs, outputs], in all the ways that people multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(8, 6))
        self.second = nn.Parameter(torch.randn(6, 4))
        self.bias = nn.Parameter(torch.randn(4))
        self.third = nn.Parameter(torch.randn(5, 4))

    def forward(self, x: torch.Tensor) -> Any:
        return torch.addmm(self.bias, x @ self.first, self.second) @ self.third.t()


class Experts(nn.Module):
    """A stack of weights, one per expert, for ``bmm``, ``matmul`` and ``einsum``, and a stack of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Parameter(torch.randn(3, 8, 6))
        self.bias = nn.Parameter(torch.randn(3, 1, 6))
        self.narrow = nn.Parameter(torch.randn(3, 6, 8))
        self.mixed = nn.Parameter(torch.randn(3, 5, 8))
        self.layers = nn.Parameter(torch.randn(2, 5, 5))

    def forward(self, x: torch.Tensor) -> Any:
        each = x.unsqueeze(0).expand(3, -1, -1)
        hidden = torch.relu(torch.baddbmm(self.bias, each, self.wide))
        hidden = torch.einsum("ebi,eoi->beo", torch.matmul(hidden, self.narrow), self.mixed)
        return hidden @ self.layers[0] @ self.layers[1]


class Einsums(nn.Module):
    """Attention as it is written with einsum: heads are axes of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(8, 2, 4))
        self.value = nn.Parameter(torch.randn(2, 4, 8))
        self.out = nn.Parameter(torch.randn(2, 4, 6))
        self.left = nn.Parameter(torch.randn(5, 5))

    def forward(self, x: torch.Tensor) -> Any:
        query = torch.einsum("btd,dhk->bhtk", x, self.query)
        value = torch.einsum("btd,hkd->bhtk", self.left @ x, self.value)
        scores = torch.einsum("bhtk,bhsk->bhts", query, value).softmax(-1)
        return torch.einsum("bhts,bhsk,hko->bto", scores, value, self.out)


class Cells(nn.Module):
    """Two stacked cells, step after step, as in a decoder that is written as a loop."""

    def __init__(self, steps: int = 3) -> None:
        super().__init__()
        self.steps = steps
        self.first = nn.LSTMCell(4, 6)
        self.second = nn.GRUCell(6, 5)
        self.third = nn.RNNCell(5, 3)

    def forward(self, x: torch.Tensor) -> Any:
        hidden, cell = x.new_zeros(x.shape[0], 6), x.new_zeros(x.shape[0], 6)
        second, third = x.new_zeros(x.shape[0], 5), x.new_zeros(x.shape[0], 3)
        for _ in range(self.steps):
            hidden, cell = self.first(x, (hidden, cell))
            second = self.second(hidden, second)
            third = self.third(second, third)
        return third


def transposed(dimensions: int) -> tuple[nn.Module, Examples]:
    """Convolutions and transposed ones: plain, in groups, depthwise, and depthwise with several outputs."""
    plain, turned = (
        (nn.Conv1d, nn.ConvTranspose1d),
        (nn.Conv2d, nn.ConvTranspose2d),
        (nn.Conv3d, nn.ConvTranspose3d),
    )[dimensions - 1]
    model = nn.Sequential(
        plain(4, 8, 3, padding=1, groups=2),
        turned(8, 6, 3, 2, 1, output_padding=1),
        turned(6, 4, 2, groups=2),
        turned(4, 4, 3, groups=4),
        turned(4, 8, 3, 1, 2, groups=4, bias=False),
        plain(8, 8, 3, groups=8),
    )
    return model, (torch.randn(2, 4, *(4,) * dimensions),)


def parametrized() -> tuple[nn.Module, Examples]:
    """Weights that are computed from others; one layer is called twice."""
    twice = parametrizations.weight_norm(nn.Conv1d(6, 6, 3, padding=1))
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(4, 6, 3)),
        twice,
        twice,
        parametrizations.weight_norm(nn.ConvTranspose1d(6, 4, 3), dim=1),
        parametrizations.spectral_norm(nn.Conv1d(4, 4, 3)),
        nn.Flatten(),
        parametrizations.orthogonal(nn.Linear(4 * 6, 4)),
    )
    return model, (torch.randn(2, 4, 8),)


def _sequence(kind: Callable[..., nn.Module]) -> tuple[nn.Module, Examples]:
    """Two layers, there and back, time first."""
    layer = kind(4, 6, num_layers=2, bidirectional=True)
    return Function(lambda x, cell: cell(x.transpose(0, 1))[0].transpose(0, 1), layer), (
        torch.randn(2, 3, 4),
    )


def _recurrent(kind: Callable[..., nn.Module]) -> tuple[nn.Module, Examples]:
    layer = kind(4, 6, batch_first=True)
    return Function(lambda x, cell, out: out(cell(x)[0][:, -1]), layer, nn.Linear(6, 2)), (
        torch.randn(2, 2, 4),
    )


def _many_operators(x: torch.Tensor, layer: nn.Module) -> tuple[torch.Tensor, ...]:
    y = layer(x)
    z = y.clone()
    z[:, 0] = 0
    z += 1
    return (
        z,
        y.std(-1, keepdim=True),
        torch.where(y > 0, y, y * 0.1).clamp(-1, 1),
        functional.normalize(y),
        y.sort(1).values,
        torch.topk(y, 3).indices,
        y.masked_fill(y > 0, -1e9),
        y.view(x.shape[0] * 2, -1).reshape(x.shape[0], -1),
        functional.one_hot(y.argmax(1), 8),
        functional.pad(y, (1, 1)),
        torch.stack(y.chunk(2, 1), 1),
        torch.einsum("bi,bj->bij", y, y),
        y.half().float() ** 2 // 3 % 2,
    )


def _upsampling(image: torch.Tensor, down: nn.Module, up: nn.Module) -> torch.Tensor:
    y = functional.silu(down(image))
    y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.cat([image, functional.interpolate(up(y), size=(16, 16))], 1)


def _mixed_precision(x: torch.Tensor, layer: nn.Module) -> Any:
    with torch.autocast("cpu", enabled=False):
        y = layer(x)
    with torch.enable_grad():
        y = y + layer(x)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        return layer(y).float()


ZOO: Final[Mapping[str, Callable[[], tuple[nn.Module, Examples]]]] = {
    "mobilenet": mobilenet,
    "upsampling": lambda: (
        Function(_upsampling, nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 4, 4, 2, 1)),
        (torch.randn(2, 3, 16, 16),),
    ),
    "norms": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same", padding_mode="reflect"),
            nn.GroupNorm(2, 8),
            nn.PReLU(8),
            nn.MaxPool2d(2),
            nn.InstanceNorm2d(8, affine=True),
            nn.Hardswish(),
            nn.PixelUnshuffle(2),
        ),
        (torch.randn(2, 3, 8, 8),),
    ),
    "audio": lambda: (
        nn.Sequential(
            nn.Conv1d(1, 8, 10, 5),
            nn.BatchNorm1d(8),
            nn.LeakyReLU(),
            nn.AvgPool1d(2),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
            nn.LogSoftmax(1),
        ),
        (torch.randn(2, 1, 200),),
    ),
    "volume": lambda: (nn.Sequential(nn.Conv3d(1, 2, 3), nn.MaxPool3d(2)), (torch.randn(2, 1, 6, 6, 6),)),
    "lstm": lambda: _recurrent(nn.LSTM),
    "gru": lambda: _recurrent(nn.GRU),
    "lstm both ways": lambda: _sequence(nn.LSTM),
    "gru both ways": lambda: _sequence(nn.GRU),
    "rnn both ways": lambda: _sequence(nn.RNN),
    "lstm with projection": lambda: _sequence(partial(nn.LSTM, proj_size=3)),
    "cells": lambda: (Cells(), (torch.randn(2, 4),)),
    "transposed 1d": lambda: transposed(1),
    "transposed 2d": lambda: transposed(2),
    "transposed 3d": lambda: transposed(3),
    "parametrized": parametrized,
    "experts": lambda: (Experts(), (torch.randn(2, 8),)),
    "einsums": lambda: (Einsums(), (torch.randn(2, 5, 8),)),
    "decoder": lambda: (
        nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        (torch.randn(2, 5, 8), torch.randn(2, 3, 8)),
    ),
    "tied": lambda: (TiedLanguageModel(), (torch.randint(WORDS, (2, 6)),)),
    "bag": lambda: (
        nn.Sequential(nn.EmbeddingBag(WORDS, 8), nn.Linear(8, 2)),
        (torch.randint(WORDS, (2, 6)),),
    ),
    "vision": lambda: (VisionTransformer(), (torch.randn(2, 3, 16, 16),)),
    "causal": lambda: (Causal(), (torch.randint(WORDS, (2, 6)),)),
    "encoder": lambda: (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1),
        (torch.randn(2, 5, 8),),
    ),
    "products": lambda: (Products(), (torch.randn(2, 8),)),
    "operators": lambda: (Function(_many_operators, nn.Linear(8, 8)), (torch.randn(2, 8),)),
    "regions": lambda: (Function(_mixed_precision, nn.Linear(8, 8)), (torch.randn(2, 8),)),
    "double": lambda: (nn.Linear(8, 8).double(), (torch.randn(2, 8).double(),)),
    "bfloat16": lambda: (
        Function(lambda x, layer: layer(x.bfloat16()).float(), nn.Linear(8, 8).bfloat16()),
        (torch.randn(2, 8),),
    ),
    "two inputs": lambda: (
        Function(lambda a, b, layer: layer(a) * b, nn.Linear(8, 8)),
        (torch.randn(1, 8), torch.randn(1, 1)),
    ),
}
