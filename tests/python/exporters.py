"""Whether the exporters make what is shipped, name no machine, and put weights of public networks where they belong.

    python tests/python/exporters.py      exit code 0 where all is as it must be
"""

import contextlib
import hashlib
import importlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import torch

MODELS = Path(__file__).resolve().parents[2] / "models"
sys.path.insert(0, str(MODELS))

import torchscript as ts  # noqa: E402

# What a path of any machine looks like.
PATHS = re.compile(rb"(/home/|/root/|/Users/|/work/|/tmp/|site-packages|[A-Z]:\\\\)")


def code(folder: str, name: str, models: Path = MODELS):
    """A Python file of a package."""
    for known in ("model", "export", "published", "decoder"):
        sys.modules.pop(known, None)
    sys.path.insert(0, str(models / folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def tiny_packages_are_what_the_exporters_make() -> None:
    """Their weights; where PyTorch is of the same version their code and manifests too, to the byte. The last bits of random weights
    differ from processor to processor."""
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
                    assert without_weights(path) == without_weights(shipped / path.relative_to(tiny)), f"{path.relative_to(copy)}: run export.py --tiny"


def without_weights(path: Path) -> dict[str, bytes] | str:
    """An archive's entries but its tensors, or a manifest without the digests of its archives."""
    if path.suffix == ".toml":
        return re.sub(r'(?m)^sha256 = "[0-9a-f]+"', "", path.read_text())
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "/data/" not in name and not name.endswith("/.data/serialization_id")}


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


def a_report_that_reaches_its_limit_ends_as_it_is() -> None:
    """The published search adds no last token of its own: what overread gives is compared with it."""
    export = code("chest-ct-swin", "export")
    published = sys.modules["published"]
    torch.manual_seed(0)
    decoder = export.build(small=True)["decoder"]
    with torch.no_grad():
        decoder.final_logits_bias[0, 2] = -20.0
    ids = published.generated(decoder, torch.randn(1, 6, 32), export.Search(longest=9))
    assert ids.shape == (1, 9) and int(ids[0, -1]) != 2, ids


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


def smaller(folder: str, models: Path):
    """The exporter of a package in a copy of models/, whose full size is its tiny one: all else is as in a user's export."""
    export = code(folder, "export", models)
    build = export.build
    export.build = lambda small: build(small=True)
    if folder == "chest-ct-clip":
        export.Size = lambda: export.TINY_SIZE
    elif folder == "cxr-vit":
        export.SIDE = export.TINY_SIDE
    else:
        export.WINDOW, export.PATCH_WIDTH = export.TINY_WINDOW, 96
        inference = {"window": export.TINY_WINDOW, "overlap": 0.25, "sigma_scale": 0.125, "padding_value": -1.0}
        export.full_case = lambda parts, compiled: export.case(parts, compiled, export.TINY_CASE, inference, export.TINY_SEARCH)
    return export


def exported(export, tensors: dict[str, torch.Tensor], *more: str) -> tuple[dict, str]:
    """What export.py --weights makes of a checkpoint: the manifest and the last line that it prints."""
    said, before = io.StringIO(), sys.argv
    weights = export.HERE / "checkpoint.pt"
    torch.save(tensors, weights)
    sys.argv = ["export.py", "--weights", str(weights), *more]
    try:
        with contextlib.redirect_stdout(said):
            export.main()
    finally:
        sys.argv = before
    return tomllib.loads((export.HERE / "model.toml").read_text()), said.getvalue().splitlines()[-1]


def checkpoint(folder: str, export) -> dict[str, dict[str, torch.Tensor]]:
    """Weights for every module of a small exporter, by part, under the names that a checkpoint has."""
    parts = export.build(small=True)
    named = {part: module.state_dict() for part, module in parts.items()}
    if folder == "cxr-vit":
        named["backbone"] = parts["backbone"].vit.state_dict()
    in_front = {"chest-ct-clip": {"binary": "binary."}, "cxr-vit": {"findings": "findings.", "regions": "regions."},
                "chest-ct-swin": {"bridge": "bridge.", "decoder": "decoder."}}[folder]
    return {part: {in_front.get(part, "") + name: value for name, value in tensors.items()} for part, tensors in named.items()}


def a_package_is_trained_only_where_every_module_has_weights() -> None:
    """A random head among trained modules would answer without saying that it is random."""
    # Which part is left out, and which modules are random then.
    without = {"chest-ct-clip": ("binary", "binary"), "cxr-vit": ("regions", "regions"), "chest-ct-swin": ("decoder", "memory, decoder")}
    with tempfile.TemporaryDirectory() as work:
        models = Path(work) / "models"
        shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("__pycache__", "tiny"))
        for folder, (part, modules) in without.items():
            export = smaller(folder, models)
            if folder == "chest-ct-swin":
                (export.HERE / "tokenizer.json").write_text(export.tiny_tokenizer().to_str())
            parts = checkpoint(folder, export)
            for left_out in (None, part):
                tensors = {name: value for of, tensors in parts.items() if of != left_out for name, value in tensors.items()}
                manifest, said = exported(export, tensors)
                assert manifest["origin"] == ("untrained" if left_out else "trained"), (folder, left_out, manifest["origin"])
                assert said.endswith(f"untrained, random weights in: {modules}" if left_out else "every module has weights"), said
            if folder == "chest-ct-clip":
                # No checkpoint that is published has this head: its owner takes it out of the manifest.
                path = export.HERE / "model.toml"
                path.write_text(without_binary_head(path.read_text()))
                (export.HERE / "binary.pt").unlink()
                manifest, _ = exported(export, tensors)
                assert manifest["origin"] == "trained" and not (export.HERE / "binary.pt").exists(), manifest["origin"]


def a_classifier_of_20_findings_becomes_20_labels() -> None:
    """From the checkpoint's rows and a CSV; without names for them nothing is written, and what to fill in is said."""
    with tempfile.TemporaryDirectory() as work:
        models = Path(work) / "models"
        shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("__pycache__", "tiny"))
        export = smaller("chest-ct-clip", models)
        parts = checkpoint("chest-ct-clip", export)
        parts["findings"] = {"classifier.weight": torch.randn(20, export.TINY_SIZE.latent), "classifier.bias": torch.randn(20)}
        tensors = {name: value for tensors in parts.values() for name, value in tensors.items()}
        before = (export.HERE / "model.toml").read_text()
        try:
            exported(export, tensors)
        except SystemExit as refused:
            for word in ("20 findings", "names 18", "--labels", "[[output.classification.labels]]", "threshold", '"finding_logits"'):
                assert word in str(refused), (word, str(refused))
        else:
            raise AssertionError("20 findings were exported under 18 names")
        assert (export.HERE / "model.toml").read_text() == before and not (export.HERE / "findings.pt").exists()
        published = [label["label"] for label in tomllib.loads(before)["output"]["classification"][1]["labels"]]
        names = ["Pneumothorax", *published[::-1], 'Mass, "spiculated"']
        listed = Path(work) / "findings.csv"
        rows = ["label,threshold,concept", 'Pneumothorax,0.25,"36118008, SCT, Pneumothorax"', *(f"{name},," for name in names[1:-1]), '"Mass, ""spiculated""",0.75,']
        listed.write_text("\n".join(rows) + "\n")
        manifest, said = exported(export, tensors, "--labels", str(listed))
        binary, findings = manifest["output"]["classification"]
        labels = findings["labels"]
        assert [label["label"] for label in labels] == names and len(binary["labels"]) == 2, labels
        assert (labels[0]["concept"], labels[0]["threshold"], labels[-1]["threshold"]) == ("36118008, SCT, Pneumothorax", 0.25, 0.75)
        old = {label["label"]: label for label in tomllib.loads(before)["output"]["classification"][1]["labels"]}
        assert all(label == old[label["label"]] for label in labels[1:-1]), "what was known of a label stays with it"
        assert labels[-1]["concept"] == 'MASSSPICULATED, 99OVERREAD, Mass, "spiculated"' and said.endswith("every module has weights")
        head = torch.jit.load(export.HERE / "findings.pt")
        latent = torch.randn(1, export.TINY_SIZE.latent)
        expected = torch.relu(latent) @ parts["findings"]["classifier.weight"].T + parts["findings"]["classifier.bias"]
        assert torch.allclose(head(latent), expected, atol=1e-5)


def a_users_own_export_comes_with_a_golden_case() -> None:
    """With the input and every output that the manifest reads, and nothing else; random weights at full size have none."""
    from torchvision.models import resnet18

    with tempfile.TemporaryDirectory() as work:
        models = Path(work) / "models"
        shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("__pycache__", "tiny"))
        for folder in ("chest-ct-clip", "cxr-vit", "chest-ct-swin"):
            export = smaller(folder, models)
            if folder == "chest-ct-swin":
                (export.HERE / "tokenizer.json").write_text(export.tiny_tokenizer().to_str())
            tensors = {name: value for tensors in checkpoint(folder, export).values() for name, value in tensors.items()}
            manifest, _ = exported(export, tensors)
            assert manifest["golden"] == {"case": "golden/export.npz", "float_tolerance": 1e-3}, manifest["golden"]
            assert set(np.load(export.HERE / manifest["golden"]["case"]).files) == ts.outputs((export.HERE / "model.toml").read_text()) | {"voxels"}, folder
        # One network at its own size, from the command line, twice: the case is that of the weights.
        folder, logits = models / "chest-ct-2p5d-mean", []
        for seed in (1, 2):
            torch.manual_seed(seed)
            net = resnet18(weights=None, num_classes=1)
            torch.save({"state_dict": net.state_dict()}, folder / "own.pth")
            done = subprocess.run([sys.executable, "-W", "ignore", "export.py", "--weights", "own.pth"], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            case = np.load(folder / "golden" / "export.npz")
            with torch.no_grad():
                expected = net.eval()(torch.from_numpy(case["voxels"]).repeat(1, 3, 1, 1))
            assert np.allclose(case["logits"], expected.numpy(), atol=1e-4), "grey answers as colour did"
            logits.append(case["logits"])
        assert (folder / "model.toml").read_text().count("[golden]") == 1 and not np.allclose(*logits)
        done = subprocess.run([sys.executable, "-W", "ignore", "export.py", "--untrained"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and not (folder / "golden" / "export.npz").exists(), done.stderr
        assert (folder / "model.toml").read_text().replace("\n", "") == re.sub(r'sha256 = "0+"', f'sha256 = "{digest(folder / "model.pt")}"', (MODELS / folder.name / "model.toml").read_text()).replace("\n", "")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def a_golden_case_is_no_larger_than_is_read() -> None:
    """And tolerances that a manifest names stay with it."""
    manifest = '[output.verdict]\ntensor = "verdict"\n\n[golden]\ncase = "golden/own.npz"\nhalf_tolerance = 0.1\n'
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(io.StringIO()) as said:
        small = ts.write_case(Path(work), manifest, {"voxels": np.zeros(4, np.float32), "verdict": np.zeros((), np.int64), "other": np.zeros(9)})
        assert tomllib.loads(small)["golden"] == {"case": "golden/export.npz", "float_tolerance": 1e-3, "half_tolerance": 0.1}, small
        assert set(np.load(Path(work) / "golden/export.npz").files) == {"voxels", "verdict"}
        large = ts.write_case(Path(work), small, {"voxels": np.zeros(ts.LARGEST_CASE + 1, np.uint8)})
        assert "golden" not in tomllib.loads(large) and not (Path(work) / "golden/export.npz").exists()
    assert "no golden case: its arrays have 256 MiB, 256 are read" in said.getvalue(), said.getvalue()


def a_head_of_another_size_is_refused_by_name() -> None:
    """And not by a trace of PyTorch's."""
    export = code("cxr-vit", "export")
    parts = export.build(small=True)
    tensors = {f"findings.{name}": value for name, value in parts["findings"].state_dict().items()} | dict(parts["backbone"].vit.state_dict())
    last = max(name for name in tensors if re.match(r"findings\..*weight$", name) and tensors[name].dim() == 2)
    tensors[last] = torch.zeros(20, tensors[last].shape[1])
    try:
        export.filled(parts, tensors)
    except SystemExit as refused:
        assert last.removeprefix("findings.") in str(refused) and "[20," in str(refused), str(refused)
    else:
        raise AssertionError("20 rows were taken for 15")


def without_binary_head(manifest: str) -> str:
    """The manifest of chest-ct-clip with the findings alone."""
    for first, after in (('[[modules]]\nname = "binary"', '[[modules]]\nname = "findings"'),
                         ('[[output.classification]]\ntensor = "binary_logits"', '[[output.classification]]\ntensor = "finding_logits"')):
        begin, end = manifest.index(first), manifest.index(after)
        manifest = manifest[:begin] + manifest[end:]
    return manifest


def main() -> None:
    for check in (a_package_is_trained_only_where_every_module_has_weights, a_classifier_of_20_findings_becomes_20_labels,
                  a_users_own_export_comes_with_a_golden_case, a_golden_case_is_no_larger_than_is_read,
                  a_head_of_another_size_is_refused_by_name, a_report_that_reaches_its_limit_ends_as_it_is,
                  a_stem_for_colour_answers_grey_as_before, dinov2_names_become_timms, barts_decoder_is_transformers,
                  what_ct_clip_holds_beside_the_image_branch_is_known, archives_name_no_machine, tiny_packages_are_what_the_exporters_make,
                  convolutions_by_slices_are_pytorchs, attention_by_windows_is_monais):
        check()
        print(f"{check.__name__}: ok")


if __name__ == "__main__":
    main()
