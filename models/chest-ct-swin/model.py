"""From a chest CT to organs, findings and a report: SwinUNETR over windows, a bridge over all windows, a text decoder.

`Backbone`: MONAI's SwinUNETR on one window, which also gives an embedding of the window.
`Bridge`: learned questions attend to the embeddings of all windows; a mixture of four experts answers 18 findings; the attended
features are the memory of the decoder.
`ReportDecoder`: BART's decoder (decoder.py).
"""

from typing import Optional

import torch
from monai.networks.blocks import UnetrBasicBlock, UnetrUpBlock
from monai.networks.blocks.dynunet_block import UnetOutBlock
from monai.networks.nets.swin_unetr import SwinTransformer, SwinUNETR, WindowAttention
from torch import nn

HOUNSFIELD = (-1000.0, 1000.0)
SPACING = (1.5, 1.5, 1.5)
WINDOW = (96, 96, 96)
OVERLAP = 0.25
CLASSES = ["Background", "Left upper lobe", "Left lower lobe", "Right upper lobe", "Right middle lobe", "Right lower lobe", "Trachea",
           "Heart", "Aorta", "Pulmonary artery", "Esophagus", "Pleural effusion", "Consolidation", "Lung nodule"]
FINDINGS = ["Medical material", "Arterial wall calcification", "Cardiomegaly", "Pericardial effusion", "Coronary artery wall calcification",
            "Hiatal hernia", "Lymphadenopathy", "Emphysema", "Atelectasis", "Lung nodule", "Lung opacity", "Pulmonary fibrotic sequela",
            "Pleural effusion", "Mosaic attenuation pattern", "Peribronchial thickening", "Consolidation", "Bronchiectasis",
            "Interlobular septal thickening"]
EXPERTS = 4


@torch.jit.script
def attended(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor, mask: Optional[torch.Tensor]) -> torch.Tensor:
    """[windows, heads, tokens, width] three times, [heads, tokens, tokens] and [some windows, tokens, tokens] to [windows, tokens, heads,
    width]. A few windows at a time: the weights of all of them in the first stage are half a gigabyte."""
    count = queries.shape[0]
    out = torch.empty([count, queries.shape[2], queries.shape[1], queries.shape[3]], dtype=values.dtype, device=values.device)
    for first in range(0, count, 32):
        end = min(first + 32, count)
        weights = queries[first:end] @ keys[first:end].transpose(-2, -1)
        # In place, but where autocast has made the products half as wide.
        weights = weights.add_(bias) if weights.dtype == bias.dtype else weights + bias
        if mask is not None:
            own = mask[first:end] if mask.shape[0] == count else mask[torch.arange(first, end, device=mask.device) % mask.shape[0]]
            weights.add_(own.unsqueeze(1))
        out[first:end] = (weights.softmax(dim=-1).to(values.dtype) @ values[first:end]).transpose(1, 2)
    return out


@torch.jit.script
def convolved(x: torch.Tensor, kernel: torch.Tensor, slices: int) -> torch.Tensor:
    """A convolution of stride 1 that keeps the extents, some slices at a time: the room that it needs beside its input and output is that
    of so many slices."""
    beside, depth = kernel.shape[2] // 2, x.shape[2]
    out = torch.empty(0)
    for first in range(0, depth, slices):
        begin, end = max(first - beside, 0), min(first + slices, depth)
        part = torch.conv3d(x[:, :, begin : min(end + beside, depth)], kernel, padding=[kernel.shape[2] // 2, kernel.shape[3] // 2, kernel.shape[4] // 2])
        if first == 0:
            out = torch.empty([x.shape[0], kernel.shape[0], depth, x.shape[3], x.shape[4]], dtype=part.dtype, device=part.device)
        out[:, :, first:end] = part[:, :, first - begin : end - begin]
    return out


class Attention(WindowAttention):
    """MONAI's, by `attended`."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        b, n, c = x.shape
        queries, keys, values = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index[:n, :n].reshape(-1)].reshape(n, n, -1)
        return self.proj(attended(queries * self.scale, keys, values, bias.permute(2, 0, 1).contiguous(), mask).reshape(b, n, c))


class Convolution(nn.Conv3d):
    """One of PyTorch's that keeps the extents, by `convolved`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return convolved(x, self.weight, 24 if self.kernel_size[0] > 1 else 12)


def lean(net: SwinUNETR) -> SwinUNETR:
    """The same numbers in two thirds of the room: attention over a few windows at a time, the convolutions at full resolution over a few
    slices at a time."""
    for module in net.modules():
        if type(module) is WindowAttention:
            module.__class__ = Attention
    for module in net.decoder1.modules():
        if type(module) is nn.Conv3d:
            assert module.stride == (1, 1, 1) and module.bias is None
            module.__class__ = Convolution
    return net


class Backbone(SwinUNETR):
    """One window [B, 1, z, y, x] in -1..1 to scores [B, classes, z, y, x] and an embedding [B, 768 + 384].

    The embedding is the mean over the window of the bottleneck (encoder10 of the deepest stage, 16 times the feature size) beside
    the mean of the stage above (8 times). Parameters are named as MONAI names them.
    """

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        stages = self.swinViT(window, self.normalize)
        bottleneck = self.encoder10(stages[4])
        up = self.decoder5(bottleneck, stages[3])
        up = self.decoder4(up, self.encoder4(stages[2]))
        up = self.decoder3(up, self.encoder3(stages[1]))
        up = self.decoder2(up, self.encoder2(stages[0]))
        scores = self.out(self.decoder1(up, self.encoder1(window)))
        return scores, torch.cat([bottleneck.mean(dim=(2, 3, 4)), stages[3].mean(dim=(2, 3, 4))], dim=1)


def backbone() -> Backbone:
    """The full-size network."""
    return Backbone(in_channels=1, out_channels=len(CLASSES), feature_size=48)


def small_backbone(width: int = 4) -> Backbone:
    """The same stages with `width` features, patches of one voxel and small kernels, for windows of 16 x 16 x 16: SwinUNETR itself
    has no fewer than 12 features and a window of 32."""
    net = Backbone(in_channels=1, out_channels=len(CLASSES), feature_size=12)
    norm = ("group", {"num_groups": 1})

    def block(channels_in: int, channels_out: int, kernel: int = 1) -> nn.Module:
        return UnetrBasicBlock(3, channels_in, channels_out, kernel_size=kernel, stride=1, norm_name=norm, res_block=True)

    def up(channels_in: int, channels_out: int, factor: int = 2) -> nn.Module:
        return UnetrUpBlock(3, channels_in, channels_out, kernel_size=1, upsample_kernel_size=factor, norm_name=norm, res_block=True)

    net.swinViT = SwinTransformer(in_chans=1, embed_dim=width, window_size=(2, 2, 2), patch_size=(1, 1, 1), depths=(2, 1, 1, 1),
                                  num_heads=(1, 1, 2, 2), mlp_ratio=2.0, drop_path_rate=0.0)
    net.encoder1, net.encoder2 = block(1, width, 3), block(width, width)
    net.encoder3, net.encoder4, net.encoder10 = block(2 * width, 2 * width), block(4 * width, 4 * width), block(16 * width, 16 * width)
    net.decoder5, net.decoder4, net.decoder3 = up(16 * width, 8 * width), up(8 * width, 4 * width), up(4 * width, 2 * width)
    net.decoder2, net.decoder1 = up(2 * width, width), up(width, width, 1)
    net.out = UnetOutBlock(3, in_channels=width, out_channels=len(CLASSES))
    return net


class Expert(nn.Module):
    """One opinion on all findings."""

    def __init__(self, width: int, findings: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, findings))

    def forward(self, study: torch.Tensor) -> torch.Tensor:
        return self.net(study)


class Bridge(nn.Module):
    """Window embeddings [N, D] and window centres [N, 3] in 0..1 (slice, row, column) to
    finding logits [1, findings], study embedding [1, width], memory [1, questions, width], attention [N] (sums to 1)."""

    def __init__(self, patch_width: int, width: int, heads: int, questions: int, findings: int = len(FINDINGS)):
        super().__init__()
        self.embed = nn.Linear(patch_width, width)
        self.place = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))
        self.norm_windows = nn.LayerNorm(width)
        self.questions = nn.Parameter(torch.randn(questions, width))
        self.heads = heads
        self.to_queries = nn.Linear(width, width)
        self.to_keys = nn.Linear(width, width)
        self.to_values = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width)
        self.norm_memory = nn.LayerNorm(width)
        self.gate = nn.Linear(width, EXPERTS)
        self.experts = nn.ModuleList(Expert(width, findings) for _ in range(EXPERTS))

    def by_head(self, x: torch.Tensor) -> torch.Tensor:
        """[n, width] to [heads, n, width / heads]."""
        return x.unflatten(1, (self.heads, -1)).transpose(0, 1)

    def forward(self, patches: torch.Tensor, window_positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        windows = self.norm_windows(self.embed(patches) + self.place(window_positions))
        queries, keys, values = self.by_head(self.to_queries(self.questions)), self.by_head(self.to_keys(windows)), self.by_head(self.to_values(windows))
        weights = (queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5).softmax(dim=-1)
        answers = (weights @ values).transpose(0, 1).flatten(1)
        memory = self.norm_memory(self.questions + self.to_out(answers))
        study = memory.mean(dim=0, keepdim=True)
        shares = self.gate(study).softmax(dim=-1)
        opinions = torch.stack([expert(study) for expert in self.experts], dim=1)
        logits = (shares.unsqueeze(-1) * opinions).sum(dim=1)
        return logits, study, memory.unsqueeze(0), weights.mean(dim=(0, 1))
