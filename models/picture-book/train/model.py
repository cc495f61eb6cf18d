"""A lean LLaVA: the arithmetic of transformers' `LlavaForConditionalGeneration`, made to train.

It differs from transformers in speed only: q, k and v are one matrix, the last vision layer is
computed for [CLS] alone, and many questions share one pass over a picture. `export.py` gives the
weights their usual names and `check_export.py` compares the two.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from easy_vqa import SHAPES
from nouns import GLYPHS, NOUNS
from scene import PAGE, PATCH
from vocabulary import prefix_ids, words

GRID = PAGE // PATCH
NORM_EPS = 1e-5
# Large, so that more of a head can match words with patches at any distance.
ROPE_THETA = 100000.0


@dataclass(frozen=True)
class Size:
    """Widths and depths of the three parts."""

    vision_width: int = 192
    vision_layers: int = 6
    vision_heads: int = 3
    vision_mlp: int = 768
    text_width: int = 192
    text_layers: int = 12
    text_heads: int = 3
    text_mlp: int = 512


class Block(nn.Module):
    """The weights of a transformer layer; output projections start at zero."""

    def __init__(self, width: int, mlp: int, gates: int, bias: bool):
        super().__init__()

        def matrix(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-1]))

        self.qkv = matrix(3, width, width)
        if not bias:
            # Alike queries and keys: like attends to like from the start, a word to its patches.
            with torch.no_grad():
                self.qkv[1].mul_(0.66).add_(self.qkv[0], alpha=0.75)
        self.out = nn.Parameter(torch.zeros(width, width))
        self.up = matrix(gates, mlp, width)
        self.down = nn.Parameter(torch.zeros(width, mlp))
        self.norm1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.Parameter(torch.ones(width))
        if bias:
            self.norm1_bias = nn.Parameter(torch.zeros(width))
            self.norm2_bias = nn.Parameter(torch.zeros(width))
            self.qkv_bias = nn.Parameter(torch.zeros(3, width))
            self.out_bias = nn.Parameter(torch.zeros(width))
            self.up_bias = nn.Parameter(torch.zeros(mlp))
            self.down_bias = nn.Parameter(torch.zeros(width))


def _grid_positions(width: int) -> Tensor:
    """Sines and cosines of row and column: a head start for the position table."""
    rates = 1 / (50 ** (torch.arange(width // 4) / (width // 4)))
    angles = torch.arange(GRID)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], 1)
    rows = line[:, None].expand(GRID, GRID, -1)
    columns = line[None].expand(GRID, GRID, -1)
    return torch.cat([rows, columns], -1).reshape(GRID * GRID, width)


class PictureBook(nn.Module):
    """CLIP vision tower, MLP projector, Llama decoder, and heads that only training uses."""

    def __init__(self, size: Size = Size()):
        super().__init__()
        self.size = size
        wide, text = size.vision_width, size.text_width
        self.patch = nn.Parameter(torch.randn(wide, 3 * PATCH**2) / math.sqrt(3 * PATCH**2))
        self.cls = nn.Parameter(torch.randn(wide) * 0.02)
        table = torch.cat([torch.zeros(1, wide), _grid_positions(wide) * 0.5])
        self.positions = nn.Parameter(table)
        self.pre_norm = nn.LayerNorm(wide, eps=NORM_EPS)
        self.post_norm = nn.LayerNorm(wide, eps=NORM_EPS)
        self.vision_blocks = nn.ModuleList(
            Block(wide, size.vision_mlp, 1, True) for _ in range(size.vision_layers)
        )
        self.project1 = nn.Linear(wide, text)
        self.project2 = nn.Linear(text, text)
        self.embedding = nn.Parameter(torch.randn(len(words()), text) * 0.5)
        self.text_blocks = nn.ModuleList(
            Block(text, size.text_mlp, 2, False) for _ in range(size.text_layers)
        )
        self.norm = nn.Parameter(torch.ones(text))
        self.head = nn.Parameter(torch.randn(len(words()), text) * 0.02)
        # Auxiliary heads, not exported.
        self.cls_head = nn.Linear(wide, len(NOUNS) + len(SHAPES))
        # Whether a centre, own x and y, the owner's x and y, the owner's size.
        self.patch_head = nn.Linear(text, 6)
        self.glyph_head = nn.Linear(text, len(GLYPHS))
        self.register_buffer("prefix", torch.tensor(prefix_ids()), persistent=False)

    def positions_of(self, grid: int, offsets: Tensor | None) -> Tensor:
        """Position embeddings of smaller pictures, `[B or 1, grid * grid, width]`.

        With offsets, a window lying there on the page; without, a whole page in coarser steps.
        """
        table = self.positions[1:].view(GRID, GRID, -1)
        if offsets is None:
            step = GRID // grid
            coarse = table.view(grid, step, grid, step, -1).mean((1, 3))
            return coarse.reshape(1, grid * grid, -1)
        steps = torch.arange(grid)
        rows = (offsets[:, :1] + steps)[:, :, None]
        columns = (offsets[:, 1:] + steps)[:, None, :]
        return table[rows, columns].flatten(1, 2)

    def vision(self, patches: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Patch features of the last layer but one, and the normed [CLS] of the last."""
        size = self.size
        count = patches.shape[0]
        hidden = patches @ self.patch.t() + positions
        cls = (self.cls + self.positions[0]).expand(count, 1, -1)
        hidden = self.pre_norm(torch.cat([cls, hidden], 1))
        for block in self.vision_blocks[:-1]:
            hidden = _vision_layer(hidden, hidden, block, size.vision_heads)
        cls = _vision_layer(hidden[:, :1], hidden, self.vision_blocks[-1], size.vision_heads)
        return hidden[:, 1:], self.post_norm(cls[:, 0])

    def project(self, features: Tensor) -> Tensor:
        return self.project2(F.gelu(self.project1(features)))

    def text(self, image: Tensor, ids: Tensor, layout: "Layout") -> Tensor:
        """Logits `[B, slots, vocabulary]` of packed questions about one picture each."""
        size = self.size
        start = self.embedding[self.prefix].expand(image.shape[0], -1, -1)
        hidden = torch.cat([start, image, F.embedding(ids, self.embedding)], 1)
        for number, block in enumerate(self.text_blocks):
            hidden = hidden + F.linear(_text_attention(hidden, block, layout, size), block.out)
            if number == size.text_layers - 1:
                hidden = hidden[:, layout.picture :]
            inner = F.linear(_rms_norm(hidden, block.norm2), block.up.flatten(0, 1))
            hidden = hidden + F.linear(_gated(inner), block.down)
        return F.linear(_rms_norm(hidden, self.norm), self.head)


def _quick_gelu(states: Tensor) -> Tensor:
    return states * torch.sigmoid(1.702 * states)


def _gated(states: Tensor) -> Tensor:
    gate, up = states.chunk(2, -1)
    return F.silu(gate) * up


def _rms_norm(states: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(states, (states.shape[-1],), weight, NORM_EPS)


def _layer_norm(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(states, (states.shape[-1],), weight, bias, NORM_EPS)


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = states.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


_SMALL_PARTS = ("_quick_gelu", "_gated", "_rms_norm", "_layer_norm", "_rotated")


def compile_small_parts() -> None:
    """Fuses what is not a matrix product; 20 s of compiling, a tenth of the time saved."""
    for name in _SMALL_PARTS:
        globals()[name] = torch.compile(globals()[name], dynamic=True)


class _Attention(torch.autograd.Function):
    """Attention written out, in chunks of rows that share a mask: with bfloat16 matrices that is
    several times faster on a processor than PyTorch's fused kernel.

    A chunk is (first row, last row, picture, mask): its keys are the first `picture` ones and the
    rows' own, or all up to the last row if `picture` is 0.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, chunks: list) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        output, kept = torch.empty_like(query), []
        for first, last, picture, mask in chunks:
            keys, values = _seen(key, first, last, picture), _seen(value, first, last, picture)
            scores = query[:, :, first:last] @ keys.transpose(-1, -2)
            if mask is not None:
                scores += mask
            shares = scores.softmax(-1)
            output[:, :, first:last] = shares @ values
            kept.append(shares)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.chunks = chunks
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor):
        query, key, value, *kept = ctx.saved_tensors
        gradient = gradient.contiguous()
        for_query = torch.empty_like(query)
        for_key, for_value = torch.zeros_like(key), torch.zeros_like(value)
        for (first, last, picture, _), shares in zip(ctx.chunks, kept):
            keys, values = _seen(key, first, last, picture), _seen(value, first, last, picture)
            part = gradient[:, :, first:last]
            scores = torch._softmax_backward_data(
                part @ values.transpose(-1, -2), shares, -1, shares.dtype
            )
            for_query[:, :, first:last] = scores @ keys
            for total, own in (
                (for_key, scores.transpose(-1, -2) @ query[:, :, first:last]),
                (for_value, shares.transpose(-1, -2) @ part),
            ):
                if picture:
                    total[:, :, :picture] += own[:, :, :picture]
                    total[:, :, first:last] += own[:, :, picture:]
                else:
                    total[:, :, :last] += own
        return for_query, for_key, for_value, None


def _seen(states: Tensor, first: int, last: int, picture: int) -> Tensor:
    if picture:
        return torch.cat([states[:, :, :picture], states[:, :, first:last]], 2)
    return states[:, :, :last]


def _vision_layer(rows: Tensor, context: Tensor, block: Block, heads: int) -> Tensor:
    """A CLIP layer for some rows that attend to all of `context`."""
    width = rows.shape[-1]

    def split(states: Tensor, part: slice) -> Tensor:
        weight = block.qkv[part].flatten(0, 1)
        states = F.linear(states, weight, block.qkv_bias[part].flatten())
        return states.unflatten(-1, (-1, heads, width // heads)).permute(2, 0, 3, 1, 4)

    def norm1(states: Tensor) -> Tensor:
        return _layer_norm(states, block.norm1, block.norm1_bias)

    scale = (width // heads) ** -0.5
    if rows is context:
        query, key, value = split(norm1(rows), slice(0, 3))
        whole = [(0, rows.shape[1], 0, None)]
        mixed = _Attention.apply(query * scale, key, value, whole)
    else:
        (query,) = split(norm1(rows), slice(0, 1))
        key, value = split(norm1(context), slice(1, 3))
        mixed = (query * scale @ key.transpose(-1, -2)).softmax(-1) @ value
    rows = rows + F.linear(mixed.transpose(1, 2).flatten(2), block.out, block.out_bias)
    normed = _layer_norm(rows, block.norm2, block.norm2_bias)
    inner = F.linear(normed, block.up[0], block.up_bias)
    return rows + F.linear(_quick_gelu(inner), block.down, block.down_bias)


class Layout:
    """Where the tokens of a packed sequence are: prefix and picture, then question slots.

    A slot sees the prefix, the picture and itself, at the positions of a lone question, so its
    logits equal those of the question alone. Rows are attended to in chunks that share a mask,
    which spares the processor most of what the masks hide.
    """

    def __init__(
        self, size: Size, tokens: int, slots: list[int], chunks: int = 4,
        dtype: torch.dtype = torch.float32,
    ):
        self.picture = tokens + len(prefix_ids())
        self.length = self.picture + sum(slots)
        slot = torch.cat([torch.full((n,), i) for i, n in enumerate(slots)])
        offset = torch.cat([torch.arange(n) for n in slots])
        positions = torch.cat([torch.arange(self.picture), self.picture + offset]).float()
        head = size.text_width // size.text_heads
        rates = 1 / (ROPE_THETA ** (torch.arange(0, head, 2).float() / head))
        angles = positions[:, None] * rates
        # [T, query or key, 1, head / 2]: queries are scaled on the way.
        scale = torch.tensor([head**-0.5, 1.0])[None, :, None, None]
        self.cos = (angles.cos()[:, None, None] * scale).to(dtype)
        self.sin = (angles.sin()[:, None, None] * scale).to(dtype)
        # (first row, last row, picture, mask), as `_Attention` takes them
        self.chunks: list[tuple[int, int, int, Tensor]] = []
        step = math.ceil(self.picture / chunks)
        for first in range(0, self.picture, step):
            last = min(first + step, self.picture)
            rows, keys = torch.arange(first, last)[:, None], torch.arange(last)[None]
            self.chunks.append((first, last, 0, _additive(keys <= rows, dtype)))
        step = math.ceil(len(slots) / chunks)
        for first_slot in range(0, len(slots), step):
            inside = ((slot >= first_slot) & (slot < first_slot + step)).nonzero().flatten()
            first, last = int(inside[0]), int(inside[-1]) + 1
            own, place = slot[first:last], offset[first:last]
            visible = (own[:, None] == own[None]) & (place[:, None] >= place[None])
            picture = torch.ones(last - first, self.picture, dtype=torch.bool)
            mask = _additive(torch.cat([picture, visible], 1), dtype)
            self.chunks.append((self.picture + first, self.picture + last, self.picture, mask))


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, float("-inf"))


def _text_attention(hidden: Tensor, block: Block, layout: Layout, size: Size) -> Tensor:
    width, heads = size.text_width, size.text_heads
    mixed = F.linear(_rms_norm(hidden, block.norm1), block.qkv.flatten(0, 1))
    mixed = mixed.unflatten(-1, (3, heads, width // heads))
    query, key = _rotated(mixed[:, :, :2], layout.cos, layout.sin).permute(2, 0, 3, 1, 4)
    value = mixed[:, :, 2].transpose(1, 2)
    return _Attention.apply(query, key, value, layout.chunks).transpose(1, 2).flatten(2)
