"""Whether the exporters make what is shipped, name no machine, and put weights of public networks where they belong.

    python tests/python/exporters.py      exit code 0 where all is as it must be
"""

import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

MODELS = Path(__file__).resolve().parents[2] / "models"
sys.path.insert(0, str(MODELS))

import torchscript as ts  # noqa: E402

# What a path of any machine looks like.
PATHS = re.compile(rb"(/home/|/root/|/Users/|/work/|/tmp/|site-packages|[A-Z]:\\\\)")


def code(folder: str, name: str):
    """A Python file of a package."""
    for known in ("model", "export", "published", "decoder"):
        sys.modules.pop(known, None)
    sys.path.insert(0, str(MODELS / folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def tiny_packages_are_what_the_exporters_make() -> None:
    """The same bytes where PyTorch is of the same version; at least the same weights."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / "models"
        shutil.copytree(MODELS, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for tiny in sorted(copy.glob("*/tiny")):
            shipped = MODELS / tiny.relative_to(copy)
            done = subprocess.run([sys.executable, "-W", "ignore", "export.py", "--tiny", "--seed", "0"], cwd=tiny.parent, capture_output=True, text=True)
            assert done.returncode == 0, (tiny, done.stderr)
            for path in sorted(tiny.glob("*.pt")):
                ours, theirs = torch.jit.load(path).state_dict(), torch.jit.load(shipped / path.name).state_dict()
                assert ours.keys() == theirs.keys(), path
                assert all(torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6) for name in ours), path
            if torch.__version__.startswith("2.11.0"):
                for path in (path for path in tiny.rglob("*") if path.suffix in (".pt", ".toml")):
                    assert path.read_bytes() == (shipped / path.relative_to(tiny)).read_bytes(), f"{path.relative_to(copy)}: run export.py --tiny"


def archives_name_no_machine() -> None:
    """No entry of an archive holds a path; there are no debug records."""
    for path in MODELS.glob("*/tiny/*.pt"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                assert not name.endswith(".debug_pkl"), (path, name)
                found = PATHS.search(archive.read(name)) if "/data/" not in name else None
                assert not found, (path, name, found)


def a_stem_for_colour_answers_grey_as_before() -> None:
    """Summed to one channel, and spread over five equal slices."""
    from torchvision.models import resnet18

    colour = resnet18(weights=None).eval()
    grey = torch.rand(1, 1, 64, 64)
    expected = colour.conv1(grey.repeat(1, 3, 1, 1))
    for channels in (1, 5):
        tensors = dict(colour.state_dict())
        ts.one_channel(tensors, "conv1.weight", channels)
        found = torch.nn.functional.conv2d(grey.repeat(1, channels, 1, 1), tensors["conv1.weight"], stride=2, padding=3)
        assert torch.allclose(found, expected, atol=1e-5), channels


def dinov2_names_become_timms() -> None:
    """As timm's own filter renames them."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    export = code("cxr-vit", "export")
    vit = sys.modules["model"].small_vision_transformer(98)
    published = {name: value.clone() for name, value in vit.state_dict().items()}
    published["register_tokens"] = published.pop("reg_token")
    published["pos_embed"] = torch.randn(1, 50, 32)
    published["mask_token"] = torch.zeros(1, 32)
    expected = checkpoint_filter_fn(dict(published), vit)
    found = export.timm_names(published)
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    ts.load(vit, found)


def barts_decoder_is_transformers() -> None:
    """The weights of a BartForConditionalGeneration give its logits, for any number of tokens and memories."""
    from transformers import BartConfig, BartForConditionalGeneration

    code("chest-ct-swin", "decoder")
    decoder = sys.modules["decoder"].ReportDecoder(61, width=24, heads=3, inner=40, layers=2, longest=30)
    config = BartConfig(vocab_size=61, d_model=24, encoder_layers=1, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=3, encoder_ffn_dim=40, decoder_ffn_dim=40, max_position_embeddings=30, init_std=0.4)
    bart = BartForConditionalGeneration(config).eval()
    bart.final_logits_bias.normal_()
    tensors = {re.sub(r"^model\.", "", name): value for name, value in bart.state_dict().items() if name.startswith(("model.decoder.", "final_logits_bias"))}
    ts.load(decoder, tensors)
    traced = ts.traced(decoder, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 4, 24))
    for batch, tokens, memories in ((1, 1, 1), (3, 7, 4), (4, 30, 9)):
        ids, memory = torch.randint(3, 61, (batch, tokens)), torch.randn(batch, memories, 24)
        with torch.no_grad():
            expected = bart(decoder_input_ids=ids, encoder_outputs=(memory,)).logits
        assert torch.allclose(traced(ids, memory), expected, atol=1e-4), (batch, tokens)


def what_ct_clip_holds_beside_the_image_branch_is_known() -> None:
    """Names of the published checkpoint that are left out, and one that must not be."""
    export = code("chest-ct-clip", "export")
    unused = ["text_transformer.embeddings.word_embeddings.weight", "to_text_latent.weight", "to_visual_latent_extra.weight", "temperature",
              "visual_transformer.to_patch_emb_first_frame.1.weight", "visual_transformer.to_pixels.0.weight", "visual_transformer.vq._codebook.cluster_size",
              "visual_transformer.enc_spatial_transformer.layers.0.1.context_norm.gamma", "visual_transformer.enc_temporal_transformer.layers.3.1.null_kv"]
    assert all(re.match(export.NOT_USED, name) for name in unused), [name for name in unused if not re.match(export.NOT_USED, name)]
    own = export.build(small=True)["backbone"].state_dict()
    assert not [name for name in own if re.match(export.NOT_USED, name)]
    try:
        ts.load(export.build(small=True)["backbone"], {name: value for name, value in own.items() if "to_visual_latent" not in name}, unused=export.NOT_USED)
    except SystemExit as refused:
        assert "to_visual_latent" in str(refused)
    else:
        raise AssertionError("a checkpoint without its projection was taken")


def convolutions_by_slices_are_pytorchs() -> None:
    """Bit by bit, where parts begin, end and are the rest of a volume; a kernel of 3 looks beyond each of them."""
    code("chest-ct-swin", "model")
    convolved = sys.modules["model"].convolved
    kernel = torch.randn(6, 5, 3, 3, 3)
    for depth in (24, 25, 49):
        x = torch.randn(2, 5, depth, 10, 9)
        with torch.no_grad():
            found, expected = convolved(x, kernel, 24), torch.conv3d(x, kernel, padding=1)
        assert torch.equal(found, expected), (depth, (found - expected).abs().amax(dim=(0, 1, 3, 4)))


def attention_by_windows_is_monais() -> None:
    """Bit by bit, for more windows than are looked at at a time, those of two volumes one after the other under one mask."""
    from monai.networks.nets.swin_unetr import WindowAttention

    code("chest-ct-swin", "model")
    theirs = WindowAttention(24, num_heads=3, window_size=(3, 3, 3), qkv_bias=True).eval()
    torch.nn.init.normal_(theirs.relative_position_bias_table)
    ours = WindowAttention(24, num_heads=3, window_size=(3, 3, 3), qkv_bias=True).eval()
    ours.load_state_dict(theirs.state_dict())
    ours.__class__ = sys.modules["model"].Attention
    windows = 20
    x = torch.randn(2 * windows, 27, 24)
    mask = torch.where(torch.rand(windows, 27, 27) < 0.3, -100.0, 0.0)
    with torch.no_grad():
        plain, masked = theirs(x, None), theirs(x, mask)
        assert torch.equal(ours(x, None), plain)
        assert torch.equal(ours(x, mask), masked)
    assert not torch.equal(plain, masked)


def main() -> None:
    for check in (a_stem_for_colour_answers_grey_as_before, dinov2_names_become_timms, barts_decoder_is_transformers,
                  what_ct_clip_holds_beside_the_image_branch_is_known, archives_name_no_machine, tiny_packages_are_what_the_exporters_make,
                  convolutions_by_slices_are_pytorchs, attention_by_windows_is_monais):
        check()
        print(f"{check.__name__}: ok")


if __name__ == "__main__":
    main()
