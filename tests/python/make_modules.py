"""Makes tests/fixtures/modules: small packages of several modules, and of the inputs and outputs of learned models.

Run with a Python that has PyTorch 2.11, MONAI 1.6 and transformers 5: python tests/python/make_modules.py
"""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "modules"

TOP = """\
# Made by tests/python/make_modules.py.
name = "{name}"
version = "1.0.0"
title = "{name}"
manufacturer = "overread tests"
intended_use = "Tests."
origin = "untrained"
licence = "MIT OR Apache-2.0"
family = "123110, DCM, Artificial Intelligence"
"""

ACCEPTS = '\n[accepts]\nmodality = ["{modality}"]\n{more}'
INFERENCE = "\n[inference]\ntime_limit_seconds = 60\nmemory_mb = {memory}\n{more}"
SEGMENT = """
[[output.segmentation.segments]]
label = "{label}"
category = "123037004, SCT, Anatomical Structure"
type = "39607008, SCT, Lung"
colour = "#4CAF50"
"""
LABEL = '\n[[output.classification.labels]]\nlabel = "{label}"\nconcept = "263654008, SCT, Abnormal"\nthreshold = 0.5\n'
VOLUME = '\n[input]\nkind = "volume"\naxes = "SPL"\nlayout = "NCZYX"\ndtype = "float32"\n'


def classification(labels: list[str], more: str = "", tensor: str = "logits") -> str:
    head = f'\n[[output.classification]]\ntensor = "{tensor}"\nactivation = "sigmoid"\n{more}'
    return head + "".join(LABEL.format(label=label) for label in labels)


def compiled(module: torch.nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module.eval()), buffer)
    # Without the debug records, which hold paths of the machine.
    out = io.BytesIO()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), source.read(name))
    return out.getvalue()


def write(name: str, body: str, files: dict[str, bytes], golden: dict[str, np.ndarray] | None = None, accepts: str = "", modality: str = "CT") -> None:
    """`body`: the manifest after `accepts`, where `@FILE` stands for that file's hash."""
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    single = f'sha256 = "{hashes["model.pt"]}"\n' if "model.pt" in files else ""
    if golden is not None:
        body += '\n[golden]\ncase = "golden/case.npz"\n'
        (folder / "golden").mkdir(exist_ok=True)
        np.savez_compressed(folder / "golden" / "case.npz", **golden)
    body = ACCEPTS.format(modality=modality, more=accepts) + body
    tables, rest = ("", body) if single else body.split("[[modules]]", 1)
    manifest = TOP.format(name=name) + single + (tables + ("[[modules]]" + rest if not single else rest))
    for file, digest in hashes.items():
        manifest = manifest.replace(f"@{file}", digest)
        (folder / file).write_bytes(files[file])
    (folder / "model.toml").write_text(manifest)


class Backbone(torch.nn.Module):
    """Scores and a vector for each window, and how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = torch.nn.Conv3d(1, 3, 3, padding=1)
        self.vector = torch.nn.Linear(64, 6)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.calls += window.shape[0]
        calls = self.calls - torch.arange(window.shape[0] - 1, -1, -1, dtype=torch.float32)
        return self.scores(window), torch.tanh(self.vector(window.flatten(1))), calls


class Head(torch.nn.Module):
    """Logits and attention from the vectors of the windows and where they lie."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = torch.nn.Linear(9, 1)
        self.logits = torch.nn.Linear(9, 2)

    def forward(self, patches: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        seen = torch.cat([patches, positions], dim=1)
        attention = torch.softmax(self.weigh(seen).squeeze(1), dim=0)
        return {"logits": self.logits((attention.unsqueeze(1) * seen).sum(0, keepdim=True)), "attention": attention}


def lying(array: np.ndarray, letters: str) -> np.ndarray:
    """An array of slices to Superior, rows to Posterior and columns to Left, as a series holds it whose slices, rows and columns lead
    to `letters`."""
    axes = [next(axis for axis, pair in enumerate(("SI", "PA", "LR")) if letter in pair) for letter in letters]
    flips = tuple(slice(None, None, -1 if letter in "IAR" else 1) for letter in letters)
    return np.ascontiguousarray(array.transpose(axes)[flips])


def most_looked_at(values: np.ndarray, count: int) -> list[int]:
    """The slices whose values add up to most, two of them at least an eighth of the stack over their number apart."""
    sums, chosen = values.astype(np.float64).sum(axis=(1, 2)), []
    for index in np.argsort(-sums, kind="stable").tolist():
        if len(chosen) < count and all(abs(index - other) >= max(len(sums) // (8 * count), 1) for other in chosen):
            chosen.append(index)
    return chosen


class Other(torch.nn.Module):
    """A second head on the same vectors."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.amax(0, keepdim=True)[:, :1] * 3


SEVERAL = f"""
[[modules]]
name = "backbone"
weights = "backbone.pt"
sha256 = "@backbone.pt"
arguments = ["voxels"]
results = ["scores", "patches", "calls"]
over = "windows"

[modules.gather]
scores = "blend"
patches = "collect"
calls = "collect"

[[modules]]
name = "head"
weights = "head.pt"
sha256 = "@head.pt"
arguments = ["patches", "window_positions"]
results = ["logits", "attention"]

[[modules]]
name = "other"
weights = "other.pt"
sha256 = "@other.pt"
arguments = ["patches"]
results = ["other"]
"""

SEVERAL_OUTPUT = f"""
[output.segmentation]
tensor = "scores"
encoding = "scores"
{SEGMENT.format(label="One")}{SEGMENT.format(label="Two")}
{classification(["First", "Second"])}
{classification(["Third"], tensor="other")}
[[output.embedding]]
tensor = "patches"

[output.attention]
tensor = "attention"
over = "windows"
label = "Attention"
key_slices = 2
"""


def places(voxels: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor) -> None:
    """expected.npz of `several`: labels and attention of the same patient in series that lie in different ways, and the attention
    on a grid twice as fine. A weight for each window is MONAI's blend of windows that hold nothing but their weight."""
    each = iter(weights.tolist())
    flat = lambda windows: torch.stack([torch.full(window.shape, next(each)) for window in windows])
    looked = sliding_window_inference(torch.zeros(voxels.shape), (4, 4, 4), 2, flat, overlap=0.5, mode="gaussian", sigma_scale=0.125)
    fine = torch.nn.functional.interpolate(looked, size=(18, 14, 12), mode="trilinear", align_corners=False)[0, 0]
    arrays = {"fine_attention": (fine / fine.max()).numpy()}
    arrays["fine_key_slices"] = np.array(most_looked_at(arrays["fine_attention"], 2))
    attention = (looked / looked.max())[0, 0].numpy()
    labels = scores.argmax(dim=1)[0].to(torch.uint8).numpy()
    # Axial from the feet up and from the head down, sagittal, coronal: each as its columns, rows and normal have it.
    for letters in ("SPL", "IPR", "RIP", "AIR"):
        for name, array in (("voxels", voxels[0, 0].numpy()), ("labels", labels), ("attention", attention)):
            arrays[f"{letters}_{name}"] = lying(array, letters)
        arrays[f"{letters}_key_slices"] = np.array(most_looked_at(arrays[f"{letters}_attention"], 2))
    (HERE / "several").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(HERE / "several" / "expected.npz", **arrays)


def several() -> None:
    torch.manual_seed(1)
    backbone, head, other = Backbone().eval().requires_grad_(False), Head().eval().requires_grad_(False), Other()
    voxels = torch.rand(1, 1, 9, 7, 6)
    size, vectors, starts = (4, 4, 4), [], []

    def scores(windows: torch.Tensor) -> torch.Tensor:
        found = backbone(windows)
        vectors.append(found[1])
        return found[0]

    blended = sliding_window_inference(voxels, size, 2, scores, overlap=0.5, mode="gaussian", sigma_scale=0.125)
    for z in (0, 2, 4, 5):
        for y in (0, 2, 3):
            starts += [(z, y, x) for x in (0, 2)]
    patches = torch.cat(vectors)
    assert len(starts) == len(patches)
    positions = (torch.tensor(starts, dtype=torch.float64) + 2) / torch.tensor([9.0, 7.0, 6.0], dtype=torch.float64)
    found = head(patches, positions.float())
    golden = {"voxels": voxels, "scores": blended, "patches": patches, "other": other(patches), **found}
    places(voxels, blended, found["attention"])
    # How often the backbone was called is not the same every time.
    backbone.calls.zero_()
    files = {"backbone.pt": compiled(backbone), "head.pt": compiled(head), "other.pt": compiled(other)}
    settings = "window = [4, 4, 4]\noverlap = 0.5\nbatch = 2\n"
    body = SEVERAL + VOLUME + INFERENCE.format(memory=100, more=settings) + SEVERAL_OUTPUT
    arrays = {name: tensor.numpy() for name, tensor in golden.items()}
    write("several", body, files, arrays)
    counted = body + '\n[[output.embedding]]\ntensor = "calls"\n'
    write("counted", counted, files)
    prepared = 'steps = [\n{ do = "scale", from = [0, 2], to = [0, 1] },\n{ do = "resize", size = [9, 7, 6], method = "linear" },\n]\n'
    write("several-resized", SEVERAL + VOLUME + prepared + INFERENCE.format(memory=100, more=settings) + SEVERAL_OUTPUT, files)
    mirrored = INFERENCE.format(memory=100, more=settings + 'mirror = ["slices", "columns"]\n')
    write("mirrored", SEVERAL + VOLUME + mirrored + SEVERAL_OUTPUT, files)


class Slices(torch.nn.Module):
    """One logit a row of the batch: a number that tells which slices came in which order."""

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        each = voxels.flatten(2).mean(2) if voxels.dim() == 4 else voxels.flatten(3).mean(3)[:, 0]
        return (each * (1 + torch.arange(each.shape[1], dtype=torch.float32))).sum(1, keepdim=True) / 100


def slices() -> None:
    files = {"model.pt": compiled(Slices())}
    start = '\n[input]\nkind = "slices"\naxes = "SPL"\nlayout = "{layout}"\ndtype = "float32"\narguments = ["voxels"]\n'
    three = '[input.slices]\ncount = 3\nover = "{over}"\n'
    run = INFERENCE.format(memory=100, more="")
    body = start.format(layout="NKYX") + three.format(over="series") + run + classification(["Any"])
    write("slices-as-channels", body, files)
    body = start.format(layout="BCYX") + three.format(over="series") + run
    write("slices-as-batch", body + classification(["Any"], 'reduce = "mean-logits"\n'), files)
    body = start.format(layout="NKYX") + three.format(over="gate") + run + classification(["Any"])
    write("slices-over-gate", body, files, accepts='gate = "good"\n')
    body = VOLUME + 'arguments = ["voxels"]\n[input.per_slice]\nwindow = 3\n' + INFERENCE.format(memory=100, more="batch = 4\n")
    write("per-slice", body + classification(["Any"]), files)


class FaultyWindow(torch.nn.Module):
    """Right for a whole series, wrong in one way for the three slices around a slice."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        logits = voxels.flatten(1).mean(1, keepdim=True) / 100
        if voxels.shape[2] == 3 and self.fault == "per-slice-of-infinity":
            logits = logits / 0
        if voxels.shape[2] == 3 and self.fault == "per-slice-of-two":
            logits = torch.cat([logits, logits], dim=1)
        return logits


class WindowVector(torch.nn.Module):
    """The mean of each window."""

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        return window.flatten(1).mean(1, keepdim=True)


class MeanOfVectors(torch.nn.Module):
    """One logit: the mean over the windows, and how many there are."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return patches.mean(0, keepdim=True) / 100 + patches.shape[0] / 10


def per_slice() -> None:
    body = VOLUME + 'arguments = ["voxels"]\n[input.per_slice]\nwindow = 3\n' + INFERENCE.format(memory=100, more="batch = 4\n")
    for name in ("per-slice-of-infinity", "per-slice-of-two"):
        write(name, body + classification(["Any"]), {"model.pt": compiled(FaultyWindow(name))})
    modules = '[[modules]]\nname = "backbone"\nweights = "backbone.pt"\nsha256 = "@backbone.pt"\narguments = ["voxels"]\nresults = ["patches"]\n'
    modules += 'over = "windows"\n[modules.gather]\npatches = "collect"\n'
    modules += '[[modules]]\nname = "head"\nweights = "head.pt"\nsha256 = "@head.pt"\narguments = ["patches"]\nresults = ["logits"]\n'
    body = modules + VOLUME + "[input.per_slice]\nwindow = 3\n"
    body += INFERENCE.format(memory=100, more="window = [3, 2, 2]\noverlap = 0.0\nbatch = 4\n") + classification(["Any"])
    write("per-slice-windows", body, {"backbone.pt": compiled(WindowVector()), "head.pt": compiled(MeanOfVectors())})


class InPlaceHead(torch.nn.Module):
    """A head that begins by changing what it is given."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.relu_(patches).mean(0, keepdim=True)[:, :1]


class InPlaceInput(torch.nn.Module):
    """Scales its input in place."""

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        return voxels.div_(100).flatten(1).mean(1, keepdim=True)


def in_place() -> None:
    modules = '[[modules]]\nname = "backbone"\nweights = "backbone.pt"\nsha256 = "@backbone.pt"\narguments = ["voxels"]\nresults = ["patches"]\n'
    modules += 'over = "windows"\n[modules.gather]\npatches = "collect"\n'
    modules += '[[modules]]\nname = "head"\nweights = "head.pt"\nsha256 = "@head.pt"\narguments = ["patches"]\nresults = ["logits"]\n'
    run = INFERENCE.format(memory=100, more="window = [2, 2, 2]\noverlap = 0.0\n")
    body = modules + VOLUME + run + classification(["Any"]) + '\n[[output.embedding]]\ntensor = "patches"\n'
    write("head-in-place", body, {"backbone.pt": compiled(WindowVector()), "head.pt": compiled(InPlaceHead())})
    body = VOLUME + 'arguments = ["voxels"]\n' + INFERENCE.format(memory=100, more='mirror = ["columns"]\n') + classification(["Any"])
    write("input-in-place", body, {"model.pt": compiled(InPlaceInput())})


class Remembers(torch.nn.Module):
    """A logit that depends on how often it was asked before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return voxels.flatten(1).mean(1, keepdim=True) + self.calls / 1024


def remembers() -> None:
    voxels = torch.full((1, 1, 2, 2, 2), 0.5)
    body = VOLUME + 'arguments = ["voxels"]\n' + INFERENCE.format(memory=100, more="") + classification(["Any"])
    golden = {"voxels": voxels.numpy(), "logits": np.full((1, 1), 0.5 + 1 / 1024, np.float32)}
    write("remembers", body, {"model.pt": compiled(Remembers())}, golden)


class Image(torch.nn.Module):
    """Probabilities on a grid of 2 x 2 patches and three logits."""

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches = torch.nn.functional.adaptive_avg_pool2d(pixels, [2, 2])
        return patches[:, :1], pixels.mean([2, 3])


def image() -> None:
    module = '[[modules]]\nname = "model"\nweights = "image.pt"\nsha256 = "@image.pt"\narguments = ["voxels"]\nresults = ["patches", "logits"]\n'
    start = '\n[input]\nkind = "image"\nlayout = "NCYX"\ndtype = "float32"\nsteps = [\n'
    start += '{ do = "resize", size = [8, 8], method = "linear" },\n'
    start += '{ do = "standardise", mean = [0.0, 0.5, 0.25], deviation = [1.0, 0.5, 2.0] },\n]\n'
    segments = '\n[output.segmentation]\ntensor = "patches"\nencoding = "probabilities"\ngrid = "patches"\n' + SEGMENT.format(label="Bright")
    attention = '\n[output.attention]\ntensor = "patches"\nover = "grid"\nlabel = "Where"\n'
    body = module + start + INFERENCE.format(memory=100, more="") + segments + classification(["A", "B", "C"]) + attention
    write("image", body, {"image.pt": compiled(Image())}, modality="DX")


class Step(torch.nn.Module):
    """The step of a BART decoder."""

    def __init__(self, bart: BartForConditionalGeneration) -> None:
        super().__init__()
        self.bart = bart

    def forward(self, ids: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        hidden = self.bart.model.decoder(input_ids=ids, encoder_hidden_states=memory, use_cache=False).last_hidden_state
        return self.bart.lm_head(hidden) + self.bart.final_logits_bias


class OneMore(torch.nn.Module):
    """The same step shown one token at a time. What it keeps are the tokens themselves: a beam that is given another's writes another text."""

    def __init__(self, step: Step, grows: bool) -> None:
        super().__init__()
        self.step = step
        self.grows = grows

    def forward(self, ids: torch.Tensor, memory: torch.Tensor, cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.cat([cache, ids.to(torch.float32)], 1)
        return self.step(tokens.to(torch.int64), memory)[:, -1:], tokens if self.grows else tokens[:, 1:]


class Memory(torch.nn.Module):
    """What the decoder looks at: the rows of the first slice."""

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        return voxels[:, 0, 0]


GENERATE = """
[modules.generate]
start_token = 2
end_token = 2
pad_token = 1
forced_first_token = 0
longest = 24
shortest = 6
beams = {beams}
no_repeat_ngram = 3
length_penalty = 2.0
early_stopping = true
"""


def decoder() -> None:
    torch.manual_seed(3)
    words = ["<s>", "<pad>", "</s>", "<unk>", ".", ",", "no", "pleural", "effusion", "the", "heart", "is", "normal"]
    words += ["nodule", "in", "left", "lung", "right", "upper", "lobe", "and", "opacity", "seen", "size"]
    config = BartConfig(
        vocab_size=len(words), d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=40, dropout=0.0, attn_implementation="eager",
    )
    bart = BartForConditionalGeneration(config).eval().requires_grad_(False)
    # Random weights of the usual size make every token as likely as any other.
    for parameter in bart.parameters():
        parameter.mul_(8)
    voxels = torch.randn(1, 1, 2, 5, 16, generator=torch.Generator().manual_seed(5))
    memory = Memory()(voxels)
    step = torch.jit.trace(Step(bart), (torch.tensor([[2, 0, 5]] * 2), memory.repeat(2, 1, 1)), check_trace=False)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    files = {"memory.pt": compiled(Memory()), "decoder.pt": compiled(step), "tokenizer.json": tokenizer.to_str().encode()}
    texts = {}
    for name, beams in (("greedy", 1), ("beams", 4)):
        ids = bart.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory), num_beams=beams, max_length=24, min_length=6, no_repeat_ngram_size=3,
            length_penalty=2.0, early_stopping=beams > 1, forced_bos_token_id=0, forced_eos_token_id=None, do_sample=False, use_cache=False,
        )
        modules = ""
        for module, arguments, result in (("memory", "voxels", "memory"), ("decoder", "memory", "ids")):
            modules += f'[[modules]]\nname = "{module}"\nweights = "{module}.pt"\nsha256 = "@{module}.pt"\narguments = ["{arguments}"]\nresults = ["{result}"]\n'
        text = '\n[output.text]\ntensor = "ids"\ntokenizer = "tokenizer.json"\ntokenizer_sha256 = "@tokenizer.json"\n'
        body = modules + GENERATE.format(beams=beams) + VOLUME + INFERENCE.format(memory=100, more="") + text
        write(name, body, files, {"voxels": voxels.numpy(), "ids": ids.numpy()})
        texts[name] = tokenizer.decode(ids[0].tolist(), skip_special_tokens=True)
        print(name, ids[0].tolist(), texts[name])
    write("vocabulary", body.replace("end_token = 2", "end_token = 99"), files)
    for name, grows in (("cached", True), ("cache-stands-still", False)):
        example = (torch.tensor([[5]] * 2), memory.repeat(2, 1, 1), torch.tensor([[2.0, 0.0]] * 2))
        step = torch.jit.trace(OneMore(Step(bart), grows), example, check_trace=False)
        kept = body.replace("[modules.generate]\n", "[modules.generate]\ncache = [0]\n")
        arrays = {"voxels": voxels.numpy(), "ids": ids.numpy()} if grows else None
        write(name, kept, files | {"decoder.pt": compiled(step)}, arrays)
    for name, text in texts.items():
        (HERE / name / "text.txt").write_text(text)


class Network(torch.nn.Module):
    """Convolutions, where lower precision shows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3), torch.nn.BatchNorm3d(8), torch.nn.ReLU(), torch.nn.Conv3d(8, 8, 3))
        self.last = torch.nn.Linear(8, 3)

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        return self.last(self.layers(voxels).mean([2, 3, 4]))


def precision() -> None:
    torch.manual_seed(4)
    network = Network().eval().requires_grad_(False)
    voxels = torch.randn(1, 1, 6, 7, 8)
    body = VOLUME + 'arguments = ["voxels"]\n' + INFERENCE.format(memory=100, more='precision = "bfloat16"\n') + classification(["A", "B", "C"])
    body += '\n[[output.embedding]]\ntensor = "logits"\n'
    with torch.autocast("cpu", torch.bfloat16):
        half = network(voxels).float()
    whole = network(voxels)
    print("bfloat16 differs by", (half - whole).abs().max().item())
    files = {"model.pt": compiled(network)}
    write("bfloat16", body, files, {"voxels": voxels.numpy(), "logits": whole.numpy()})
    np.savez_compressed(HERE / "bfloat16" / "expected.npz", half=half.numpy(), whole=whole.numpy())


class Faulty(torch.nn.Module):
    """Goes wrong in one way each."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, voxels: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = voxels.flatten(1)[:, :3]
        scores = torch.cat([voxels, voxels], dim=1)
        if self.fault == "memory-of-batches" and voxels.shape[0] > 1 or self.fault == "memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 1 GiB")
        if self.fault == "no-numbers":
            patches = patches / 0
        if self.fault == "scores-of-infinity":
            scores = scores + 1 / torch.zeros(1)
        if self.fault == "other-rows":
            patches = patches[:1]
        if self.fault == "other-name":
            return {"scores": scores, "patch": patches}
        return {"scores": scores, "patches": patches}


class FaultyHead(torch.nn.Module):
    """A head that raises, or gives something else."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        if self.fault == "head-raises":
            raise RuntimeError("the head does not want to")
        logits = patches.mean(0, keepdim=True)[:, :2] / 1000
        if self.fault == "head-of-three":
            logits = torch.cat([logits, logits], dim=1)[:, :3]
        if self.fault == "head-of-nan":
            logits = logits * float("nan")
        return logits


def faulty() -> None:
    modules = '[[modules]]\nname = "backbone"\nweights = "backbone.pt"\nsha256 = "@backbone.pt"\narguments = ["voxels"]\nresults = ["scores", "patches"]\n'
    modules += 'over = "windows"\n[modules.gather]\nscores = "blend"\npatches = "collect"\n'
    modules += '[[modules]]\nname = "head"\nweights = "head.pt"\nsha256 = "@head.pt"\narguments = ["patches"]\nresults = ["logits"]\n'
    segments = '\n[output.segmentation]\ntensor = "scores"\nencoding = "scores"\n' + SEGMENT.format(label="One")
    names = "memory-of-batches memory no-numbers scores-of-infinity other-rows other-name head-raises head-of-three head-of-nan too-large"
    for name in names.split():
        files = {"backbone.pt": compiled(Faulty(name)), "head.pt": compiled(FaultyHead(name))}
        run = INFERENCE.format(memory=9_000_000 if name == "too-large" else 100, more="window = [2, 2, 2]\noverlap = 0.0\nbatch = 4\n")
        write(name, modules + VOLUME + run + segments + classification(["A", "B"]), files)


def main() -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    several()
    slices()
    per_slice()
    in_place()
    remembers()
    image()
    decoder()
    precision()
    faulty()


if __name__ == "__main__":
    main()
