"""A chest radiograph foundation model: timm's ViT-L/14 with 4 register tokens at 518 x 518 (the architecture of DINOv2 with
registers), and small heads on its tokens."""

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

BACKBONE = "vit_large_patch14_reg4_dinov2"
SIDE = 518
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
RESULTS = ["cls_last", "cls_penultimate", "registers_last", "registers_penultimate", "patches_last", "patches_penultimate"]
FINDINGS = ["Any finding", "Atelectasis", "Cardiomegaly", "Pleural effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
            "Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural thickening", "Hernia"]
REGIONS = ["Lung opacity", "Nodule or mass", "Atelectatic lung", "Pleural fluid", "Pleural air", "Enlarged heart"]


def vision_transformer() -> VisionTransformer:
    """The full-size network. Parameters are named as timm names them."""
    return timm.create_model(BACKBONE, pretrained=False, img_size=SIDE, num_classes=0)


def small_vision_transformer(side: int) -> VisionTransformer:
    """The same interface and layers, 3 blocks of width 32."""
    return VisionTransformer(img_size=side, patch_size=14, embed_dim=32, depth=3, num_heads=2, num_classes=0, reg_tokens=4,
                             no_embed_class=True, init_values=1e-5)


class Backbone(nn.Module):
    """[B, 3, side, side], standardised, to the tokens of the last and the last but one block, both after the final layer norm
    (as DINOv2's `get_intermediate_layers(norm=True)` gives them): class token [B, D], registers [B, 4, D], patches [B, side²/14², D]
    in row-major order."""

    def __init__(self, vit: VisionTransformer):
        super().__init__()
        self.vit = vit

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        vit = self.vit
        tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(pixels))))
        for block in vit.blocks[:-1]:
            tokens = block(tokens)
        before = vit.norm(tokens)
        last = vit.norm(vit.blocks[-1](tokens))
        first_patch = vit.num_prefix_tokens
        return (last[:, 0], before[:, 0], last[:, 1:first_patch], before[:, 1:first_patch], last[:, first_patch:], before[:, first_patch:])


class FindingsHead(nn.Module):
    """Class token [B, D] and patch tokens [B, P, D] to one logit for each finding: a layer norm and two linear layers on the class
    token beside the mean patch."""

    def __init__(self, width: int, hidden: int, findings: int):
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, hidden), nn.GELU(), nn.Linear(hidden, findings))

    def forward(self, cls: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([cls, patches.mean(dim=1)], dim=1))


class PatchHead(nn.Module):
    """Patch tokens [B, rows * columns, D] to a probability for each region and patch, [B, regions, rows, columns]."""

    def __init__(self, width: int, regions: int, rows: int, columns: int):
        super().__init__()
        self.grid = (rows, columns)
        self.linear = nn.Linear(width, regions)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.linear(patches)).transpose(1, 2).unflatten(2, self.grid)
