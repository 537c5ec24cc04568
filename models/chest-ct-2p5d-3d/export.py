"""Makes model.pt from PyTorch weights, or from random ones; the network and the exporter are those of ../chest-ct-2p5d.

    python export.py --weights FILE     torchvision state dict; a first convolution for 3 channels is summed to 1
    python export.py --untrained        random weights at full size
    python export.py --tiny --seed 0    the package in tiny/
"""

import importlib.util
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    shared = importlib.util.spec_from_file_location("chest_ct_2p5d_export", HERE.parent / "chest-ct-2p5d" / "export.py")
    exporter = importlib.util.module_from_spec(shared)
    shared.loader.exec_module(exporter)
    exporter.export(HERE, __doc__)
