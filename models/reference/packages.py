"""A package as its authors would run it: the networks as PyTorch modules with the weights of its .pt files, the numbers of its
model.toml."""

import importlib
import sys
import tomllib
from pathlib import Path

import torch
from torch import nn

MODELS = Path(__file__).resolve().parents[1]


class OnDevice(nn.Module):
    """A module that lives on a device, for callers that do not."""

    def __init__(self, module: nn.Module, device: str):
        super().__init__()
        self.module, self.device = module.to(device), device

    def forward(self, *inputs: torch.Tensor):
        results = self.module(*(tensor.to(self.device) for tensor in inputs))
        return tuple(result.cpu() for result in results) if isinstance(results, tuple) else results.cpu()


class Package:
    """A folder with model.toml, full size or tiny. `device`: where its networks run."""

    def __init__(self, folder: Path, device: str = "cpu"):
        self.device = device
        self.folder = folder.resolve()
        self.manifest = tomllib.loads((self.folder / "model.toml").read_text())
        self.small = self.folder.name == "tiny"
        self.home = self.folder.parent if self.small else self.folder
        self.name = self.home.name

    def step(self, kind: str) -> dict:
        """The one step of this kind."""
        return next(step for step in self.manifest["input"]["steps"] if step["do"] == kind)

    def code(self, name: str):
        """A Python module of the package's folder. Several folders have a model.py: none stays known under that name."""
        home = MODELS / "chest-ct-2p5d" if self.name.startswith("chest-ct-2p5d") else self.home
        names = ("model", "export", "published", "decoder")
        for known in names:
            sys.modules.pop(known, None)
        sys.path[:0] = [str(home), str(MODELS)]
        try:
            return importlib.import_module(name)
        finally:
            del sys.path[:2]

    def networks(self) -> dict[str, nn.Module]:
        """The modules by file name without `.pt`, not compiled. A head of another shape than the exporter's is taken as compiled."""
        export = self.code("export")
        built = export.build(self.small, self.name) if self.name.startswith("chest-ct-2p5d") else export.build(self.small)
        for name, module in built.items():
            compiled = torch.jit.load(self.folder / f"{name}.pt", map_location="cpu")
            weights = compiled.state_dict()
            # A compiled module keeps buffers that PyTorch's does not, and drops parameters that are never used.
            own = {key: value for key, value in module.state_dict().items() if key in weights}
            names = {key for key, _ in module.named_parameters()}
            if names <= weights.keys() and all(weights[key].shape == value.shape for key, value in own.items()):
                module.load_state_dict({key: weights[key] for key in own}, strict=False)
                built[name] = module.eval().requires_grad_(False)
            else:
                built[name] = compiled
        return {name: self.placed(name, module) for name, module in built.items()}

    def placed(self, name: str, module: nn.Module) -> nn.Module:
        """On the device. A decoder stays as it is: `generate` needs its weights and not its calls."""
        return module if self.device == "cpu" or name == "decoder" else OnDevice(module, self.device)
