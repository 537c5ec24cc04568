"""Makes backbone.pt, bridge.pt, memory.pt and decoder.pt from PyTorch weights, or from random ones.

    python export.py --weights SWIN.pt BRIDGE.pt BART.safetensors   MONAI's, this folder's and transformers' names; see README.md
    python export.py --untrained                                    random weights at full size
    python export.py --tiny --seed 0                                the package in tiny/

With --weights, tokenizer.json of the decoder must lie in this folder: it is hashed into model.toml. Modules that are not among the weights
are random, and the package is untrained.
"""

import re
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torchscript as ts  # noqa: E402
from decoder import MemoryKeys, ReportDecoder, Step  # noqa: E402
from model import WINDOW, Bridge, backbone, lean, small_backbone  # noqa: E402
from published import Search, generated, windows  # noqa: E402

PATCH_WIDTH = 768 + 384
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
# BART base.
DECODER = {"vocabulary": 50265, "width": 768, "heads": 12, "inner": 3072, "layers": 6, "longest": 1024}

# A golden case of two windows: smaller than one along the slices and rows, so that there is padding too.
CASE = (64, 72, 108)

TINY_WINDOW = (16, 16, 16)
TINY_CASE = (14, 16, 24)
TINY_SEARCH = Search(longest=24, shortest=6, beams=4, length_penalty=0.8, no_repeat_ngram=3, repetition_penalty=1.2)
TINY = {
    'name = "chest-ct-swin"': 'name = "chest-ct-swin-tiny"',
    'title = "Chest CT, SwinUNETR and report"': 'title = "Chest CT, SwinUNETR and report, tiny"',
    "mm = [1.5, 1.5, 1.5]": "mm = [12, 12, 12]",
    "window = [96, 96, 96]": "window = [16, 16, 16]",
    '"spacing=1.5 mm", "window=96x96x96"': '"spacing=12 mm", "window=16x16x16"',
    "[B, 14, 96, 96, 96] and [B, 1152], bottleneck 768 beside the stage above 384": "[B, 14, 16, 16, 16] and [B, 96], bottleneck 64 beside the stage above 32",
    "# [1, 18], [1, 768], [1, 32, 768], [N]": "# [1, 18], [1, 32], [1, 6, 32], [N]",
    "memory_keys [1, 12, 12, 32, 64]": "memory_keys [1, 4, 2, 6, 16]",
    "cache [B, 12, 12, T, 64]": "cache [B, 4, 2, T, 16]",
    "cache = [12, 12, 0, 64]": "cache = [4, 2, 0, 16]",
    "longest = 128": "longest = 24",
    "shortest = 0": "shortest = 6",
    "length_penalty = 1.0": "length_penalty = 0.8",
    "repetition_penalty = 1.0": "repetition_penalty = 1.2",
    "memory_mb = { cpu = 2600, cuda = 4400 } # CUDA holds the blended scores of the whole volume": "memory_mb = 200",
}
SENTENCES = [
    "The lungs are clear. No pleural effusion. No pneumothorax.",
    "Small nodule in the right upper lobe. Follow-up is recommended.",
    "Consolidation in the left lower lobe with pleural effusion.",
    "The heart is not enlarged. Calcified plaques in the aorta and the coronary arteries.",
    "Emphysema of both upper lobes. Linear atelectasis in the middle lobe.",
    "Trachea and main bronchi are open. Mediastinal lymph nodes are not enlarged.",
]


def tiny_tokenizer() -> Tokenizer:
    """Byte-level byte pair encoding, as BART's, learned from a few sentences."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=192, special_tokens=SPECIAL, show_progress=False))
    return tokenizer


def modules(parts: dict[str, torch.nn.Module], window: tuple[int, int, int], patch_width: int) -> dict[str, torch.jit.ScriptModule]:
    """The four compiled modules by their file names. In all of them sizes are read from the input: any number of windows and tokens goes."""
    bridge, decoder = parts["bridge"], parts["decoder"]
    memory = torch.zeros(1, *bridge.questions.shape)
    keys = MemoryKeys(decoder)(memory).detach()
    return {
        "backbone.pt": ts.traced(lean(parts["backbone"]), torch.zeros(1, 1, *window)),
        "bridge.pt": ts.traced(bridge, torch.zeros(3, patch_width), torch.rand(3, 3)),
        "memory.pt": ts.traced(MemoryKeys(decoder), memory),
        "decoder.pt": ts.traced(Step(decoder), torch.zeros(2, 1, dtype=torch.int64), keys.repeat(2, 1, 1, 1, 1), torch.zeros(2, *keys.shape[1:3], 3, keys.shape[4])),
    }


@torch.no_grad()
def awakened(decoder: ReportDecoder) -> ReportDecoder:
    """Random weights that do not write the same word for ever: strong answers to the memory, and an end within the limits."""
    for layer in decoder.decoder.layers:
        layer.encoder_attn.out_proj.weight.mul_(4)
        layer.self_attn.out_proj.weight.mul_(2)
    decoder.decoder.embed_tokens.weight.mul_(0.5)
    decoder.final_logits_bias[0, 1] = -20.0
    decoder.final_logits_bias[0, 2] = 6.0
    return decoder


def placeholder_tokenizer() -> Tokenizer:
    """A word for every token of the full-size vocabulary, for random weights: overread refuses tokens that the tokenizer does not know."""
    words = SPECIAL + [f"w{token}" for token in range(len(SPECIAL), DECODER["vocabulary"])]
    tokenizer = Tokenizer(models.WordLevel({word: token for token, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def build(small: bool) -> dict[str, torch.nn.Module]:
    """The modules with random weights, by file name without `.pt`."""
    if not small:
        return {"backbone": backbone(), "bridge": Bridge(PATCH_WIDTH, 768, 12, 32), "decoder": awakened(ReportDecoder(**DECODER))}
    swin = small_backbone()
    bridge = Bridge(patch_width=96, width=32, heads=2, questions=6)
    decoder = awakened(ReportDecoder(tiny_tokenizer().get_vocab_size(), width=32, heads=2, inner=64, layers=2, longest=32))
    with torch.no_grad():
        swin.out.conv.conv.weight.mul_(3)
        # The embeddings of windows differ little where weights are random; differences are what the bridge is to see.
        bridge.embed.weight.mul_(8)
        bridge.to_queries.weight.mul_(4)
        for expert in bridge.experts:
            expert.net[-1].weight.mul_(6)
    return {"backbone": swin, "bridge": bridge, "decoder": decoder}


def case(parts: dict[str, torch.nn.Module], compiled: dict[str, torch.jit.ScriptModule], shape: tuple[int, int, int], inference: dict, search: Search) -> dict[str, np.ndarray]:
    """What the modules give for some voxels, with MONAI's windows, as the manifest's `inference` has them, and transformers' search."""
    voxels = ts.phantom(1, 1, *shape) * 2 - 1
    scores, patches, places = windows(voxels, compiled["backbone.pt"], tuple(inference["window"]), inference["overlap"], inference["sigma_scale"], inference["padding_value"])
    logits, study, memory, attention = compiled["bridge.pt"](patches, places)
    results = {"finding_logits": logits, "study": study, "attention": attention, "scores": scores}
    golden = {"voxels": voxels.numpy(), "report_ids": generated(parts["decoder"], memory, search).numpy()}
    return golden | {name: ts.rounded(value.numpy(), 12 if name == "scores" else 16) for name, value in results.items()}


def full_case(parts: dict[str, torch.nn.Module], compiled: dict[str, torch.jit.ScriptModule]) -> dict[str, np.ndarray]:
    """By the windows and the search that model.toml has now."""
    manifest = tomllib.loads((HERE / "model.toml").read_text())
    generate = next(module["generate"] for module in manifest["modules"] if "generate" in module)
    # What a key that is not there means.
    generate = {"forced_first_token": None, "beams": 1, "no_repeat_ngram": 0, "early_stopping": False} | {field.name: generate[field.name] for field in fields(Search) if field.name in generate}
    return case(parts, compiled, CASE, manifest["inference"], Search(**generate))


def tiny() -> None:
    """Writes tiny/."""
    tokenizer, parts = tiny_tokenizer(), build(small=True)
    compiled = modules(parts, TINY_WINDOW, 96)
    golden = case(parts, compiled, TINY_CASE, {"window": TINY_WINDOW, "overlap": 0.25, "sigma_scale": 0.125, "padding_value": -1.0}, TINY_SEARCH)
    print(tokenizer.decode(golden["report_ids"][0].tolist()))
    files = {name: ts.archive(module) for name, module in compiled.items()} | {"tokenizer.json": tokenizer.to_str(pretty=True).encode()}
    ts.write_tiny(HERE, files, TINY, golden)


def filled(parts: dict[str, torch.nn.Module], tensors: dict[str, torch.Tensor]) -> list[str]:
    """Puts weights into the parts; names the modules that they have nothing for, which stay random."""
    found = {"bridge.": {}, "decoder.": {}, "": {}}
    for name, value in tensors.items():
        name = re.sub(r"^(model\.)?(shared|decoder\.embed_tokens)\.weight$", "decoder.decoder.embed_tokens.weight", name)
        name = re.sub(r"^model\.decoder\.", "decoder.decoder.", name)
        name = re.sub(r"^final_logits_bias$", "decoder.final_logits_bias", name)
        if re.match(r"(model\.)?encoder\.(embed|layer)|lm_head\.", name):
            continue
        prefix = next(prefix for prefix in found if name.startswith(prefix))
        found[prefix][name.removeprefix(prefix)] = value
    ts.load(parts["backbone"], found[""])
    random = []
    for name, made in (("bridge", ["bridge"]), ("decoder", ["memory", "decoder"])):
        if found[f"{name}."]:
            ts.load(parts[name], found[f"{name}."])
        else:
            random += made
    return random


def main() -> None:
    given = ts.arguments(__doc__)
    if given.tiny:
        tiny()
        return
    parts = build(small=False)
    if given.weights:
        random = filled(parts, ts.state_dict(given.weights))
        if not (HERE / "tokenizer.json").exists():
            raise SystemExit(f"{HERE / 'tokenizer.json'} is not there: with --weights it must be that of the decoder's vocabulary")
        words = {"tokenizer.json": (HERE / "tokenizer.json").read_bytes()}
    else:
        random = ["backbone", "bridge", "memory", "decoder"]
        words = {"tokenizer.json": placeholder_tokenizer().to_str(pretty=True).encode()}
    compiled = modules(parts, WINDOW, PATCH_WIDTH)
    golden = full_case(parts, compiled) if given.weights else {}
    ts.write_full(HERE, {name: ts.archive(module) for name, module in compiled.items()} | words, random, golden)


if __name__ == "__main__":
    main()
