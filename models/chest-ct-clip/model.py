"""The image branch of CT-CLIP and heads on its latent, written from the published description, with the checkpoint's parameter names.

CT-CLIP (Hamamci et al., Developing generalist foundation models from a multimodal dataset for 3D computed tomography) is published
with its weights under CC-BY-NC-SA 4.0: whoever uses those weights is bound to it, non-commercial use included.

A volume becomes a grid of patches; attention runs within each slab of patches (spatial), then along the slabs (temporal); each
token is replaced by its nearest of a book of codes; the mean over the slabs is projected to the latent.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

FINDINGS = ["Medical material", "Arterial wall calcification", "Cardiomegaly", "Pericardial effusion", "Coronary artery wall calcification",
            "Hiatal hernia", "Lymphadenopathy", "Emphysema", "Atelectasis", "Lung nodule", "Lung opacity", "Pulmonary fibrotic sequela",
            "Pleural effusion", "Mosaic attenuation pattern", "Peribronchial thickening", "Consolidation", "Bronchiectasis",
            "Interlobular septal thickening"]


# How many tokens a layer works on at a time: what it holds meanwhile (distances to codes, the wide middle of a feed-forward) is
# several times as large as the tokens, and no token's result depends on how many others are beside it.
TOKENS_AT_A_TIME = 1152


@dataclass
class Size:
    """What fixes the shape of every parameter. The defaults are the published ones."""

    depth: int = 240
    side: int = 480
    slab: int = 10
    patch: int = 20
    width: int = 512
    heads: int = 8
    head_width: int = 32
    layers: int = 4
    codes: int = 8192
    latent: int = 512

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along depth, rows, columns."""
        return self.depth // self.slab, self.side // self.patch, self.side // self.patch


def in_groups(layer, sequences: torch.Tensor, *more) -> torch.Tensor:
    """What a layer makes of sequences [N, tokens, width], some of them at a time."""
    some = max(1, TOKENS_AT_A_TIME // sequences.shape[1])
    return torch.cat([layer(group, *more) for group in sequences.split(some)])


class ScaleNorm(nn.Module):
    """Layer norm with a gain and no learned offset; the checkpoint carries the zero offset as a buffer."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.register_buffer("beta", torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class NeighbourConvolution(nn.Module):
    """A depthwise 3 x 3 x 3 convolution over the grid that looks back, never ahead, along the first axis."""

    def __init__(self, width: int):
        super().__init__()
        self.dsconv = nn.Conv3d(width, width, 3, groups=width)

    def forward(self, x: torch.Tensor, grid: tuple[int, int, int, int]) -> torch.Tensor:
        # The sequences (slabs of tokens, or columns of slabs) are laid out on the grid by their order in memory alone. For the
        # temporal transformer that is not where the tokens came from; the published weights were trained so.
        volume = x.reshape(*grid, x.shape[-1]).permute(0, 4, 1, 2, 3)
        volume = self.dsconv(F.pad(volume, (1, 1, 1, 1, 2, 0)))
        return volume.permute(0, 2, 3, 4, 1).reshape(x.shape)


class CosineAttention(nn.Module):
    """Attention between unit vectors times learned gains. Keys and values come from the input before its norm."""

    def __init__(self, size: Size):
        super().__init__()
        inner = size.heads * size.head_width
        self.heads = size.heads
        self.norm = ScaleNorm(size.width)
        self.to_q = nn.Linear(size.width, inner, bias=False)
        self.to_kv = nn.Linear(size.width, 2 * inner, bias=False)
        self.q_scale = nn.Parameter(torch.ones(size.head_width))
        self.k_scale = nn.Parameter(torch.ones(size.head_width))
        self.to_out = nn.Linear(inner, size.width, bias=False)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        keys, values = self.to_kv(x).chunk(2, dim=-1)
        queries, keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q(self.norm(x)), keys, values))
        queries = F.normalize(queries, dim=-1) * self.q_scale
        keys = F.normalize(keys, dim=-1) * self.k_scale
        # The scores are never held whole: a fourth of the time of the sum, the product and the softmax one by one.
        bias = None if bias is None else bias[None]
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=8.0)
        return self.to_out(found.transpose(1, 2).flatten(2))


class GatedGelu(nn.Module):
    """The first half times the GELU of the second."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values, gate = x.chunk(2, dim=-1)
        return F.gelu(gate) * values


class Transformer(nn.Module):
    """Layers of convolution, attention and feed-forward, each added to its input, which is changed."""

    def __init__(self, size: Size):
        super().__init__()
        inner = int(4 * (2 / 3) * size.width)
        self.layers = nn.ModuleList()
        for _ in range(size.layers):
            feed_forward = nn.Sequential(nn.LayerNorm(size.width), nn.Linear(size.width, 2 * inner, bias=False), GatedGelu(),
                                         nn.Identity(), nn.Linear(inner, size.width, bias=False))
            # Place 2 belongs to cross-attention, which the encoder does not have.
            self.layers.append(nn.ModuleDict({"0": NeighbourConvolution(size.width), "1": CosineAttention(size), "3": feed_forward}))
        self.norm_out = ScaleNorm(size.width)

    def forward(self, x: torch.Tensor, grid: tuple[int, int, int, int], bias: torch.Tensor | None = None) -> torch.Tensor:
        for layer in self.layers:
            x += layer["0"](x, grid)
            x += in_groups(layer["1"], x, bias)
            x += in_groups(layer["3"], x)
        return self.norm_out(x)


class PositionBias(nn.Module):
    """A bias for each head and pair of places in a slab, from a small network on the logarithm of their distance."""

    def __init__(self, size: Size):
        super().__init__()
        self.net = nn.ModuleList([nn.Sequential(nn.Linear(2, size.width), nn.LeakyReLU(0.1)),
                                  nn.Sequential(nn.Linear(size.width, size.width), nn.LeakyReLU(0.1)),
                                  nn.Linear(size.width, size.heads)])
        _, rows, columns = size.grid
        # Pairs with the same distance have the same bias: the network runs on each distance once.
        distances = torch.cartesian_prod(torch.arange(1 - rows, rows), torch.arange(1 - columns, columns)).float()
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        apart = places[:, None] - places[None] + torch.tensor([rows - 1, columns - 1])
        self.register_buffer("distances", distances.sign() * (distances.abs() + 1).log(), persistent=False)
        self.register_buffer("pairs", apart[..., 0] * (2 * columns - 1) + apart[..., 1], persistent=False)

    def forward(self) -> torch.Tensor:
        x = self.distances
        for layer in self.net:
            x = layer(x)
        return x[self.pairs].permute(2, 0, 1)


class Codebook(nn.Module):
    """Each token [B, slabs, rows, columns, width] becomes the code that points most nearly the same way."""

    def __init__(self, size: Size):
        super().__init__()
        self.register_buffer("embed", F.normalize(torch.randn(1, size.codes, size.width), dim=-1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        codes = self.embed[0]
        directions = F.normalize(codes, dim=-1).T
        sequences = tokens.flatten(2, 3).flatten(0, 1)
        nearest = in_groups(lambda group: (F.normalize(group, dim=-1) @ directions).argmax(dim=-1), sequences)
        return codes[nearest].reshape(tokens.shape)


class VectorQuantisation(nn.Module):
    """The codebook under the checkpoint's name."""

    def __init__(self, size: Size):
        super().__init__()
        self._codebook = Codebook(size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._codebook(tokens)


class VisualTransformer(nn.Module):
    """[B, 1, depth, side, side] to tokens [B, slabs, rows, columns, width]."""

    def __init__(self, size: Size):
        super().__init__()
        self.size = size
        values = size.slab * size.patch**2
        self.spatial_rel_pos_bias = PositionBias(size)
        self.to_patch_emb = nn.Sequential(nn.Identity(), nn.LayerNorm(values), nn.Linear(values, size.width), nn.LayerNorm(size.width))
        self.enc_spatial_transformer = Transformer(size)
        self.enc_temporal_transformer = Transformer(size)
        self.vq = VectorQuantisation(size)

    def patches(self, slab: torch.Tensor) -> torch.Tensor:
        """[B, slices, side, side] to [B, rows, columns, slab * patch * patch], values in the order slice, row, column."""
        size = self.size
        return slab.unfold(2, size.patch, size.patch).unfold(3, size.patch, size.patch).permute(0, 2, 3, 1, 4, 5).flatten(3)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        tokens = torch.stack([self.to_patch_emb(self.patches(slab)) for slab in volume[:, 0].split(self.size.slab, dim=1)], dim=1)
        slabs, rows, columns = self.size.grid
        grid = (volume.shape[0], slabs, rows, columns)
        in_slabs = tokens.flatten(0, 1).flatten(1, 2)
        in_slabs = self.enc_spatial_transformer(in_slabs, grid, self.spatial_rel_pos_bias())
        along = in_slabs.unflatten(0, (-1, slabs)).transpose(1, 2).flatten(0, 1)
        along = self.enc_temporal_transformer(along, grid)
        tokens = along.unflatten(0, (-1, rows * columns)).transpose(1, 2).unflatten(2, (rows, columns))
        return self.vq(tokens)


class ImageBranch(nn.Module):
    """[B, 1, depth, side, side], HU / 1000 in -1..1, to the latent [B, latent] of length 1."""

    def __init__(self, size: Size):
        super().__init__()
        _, rows, columns = size.grid
        self.visual_transformer = VisualTransformer(size)
        self.to_visual_latent = nn.Linear(rows * columns * size.width, size.latent, bias=False)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        tokens = self.visual_transformer(volume)
        return F.normalize(self.to_visual_latent(tokens.mean(dim=1).flatten(1)), dim=-1)


class FindingsHead(nn.Module):
    """The published classifier (ClassFine): ReLU, one linear layer. Latent [B, D] to logits [B, findings]."""

    def __init__(self, latent: int, findings: int = len(FINDINGS)):
        super().__init__()
        self.classifier = nn.Linear(latent, findings)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return self.classifier(F.relu(latent))


class BinaryHead(nn.Module):
    """Latent [B, D] to two logits [B, 2]: normal, pathology."""

    def __init__(self, latent: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return self.net(latent)
