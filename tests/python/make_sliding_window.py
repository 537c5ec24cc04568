"""Makes tests/fixtures/sliding_window: what MONAI's sliding_window_inference gives for small volumes.

Run with a Python that has PyTorch, NumPy and MONAI 1.6: python tests/python/make_sliding_window.py
"""

from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "sliding_window"

# shape, window, batch, overlap, mode, sigma_scale, padding value
CASES = {
    "gaussian": ((11, 13, 9), (6, 5, 7), 1, 0.25, "gaussian", 0.125, 0.0),
    "gaussian-wide": ((10, 12, 14), (8, 8, 8), 4, 0.5, "gaussian", 0.4, 0.0),
    "constant": ((9, 16, 7), (4, 6, 3), 2, 0.6, "constant", 0.125, 0.0),
    "no-overlap": ((8, 10, 6), (4, 4, 4), 3, 0.0, "constant", 0.125, 0.0),
    "padded": ((5, 11, 3), (8, 6, 8), 2, 0.25, "gaussian", 0.125, -1.5),
    "one-window": ((4, 5, 6), (4, 5, 6), 1, 0.5, "gaussian", 0.125, 0.0),
}


def scores(window: torch.Tensor) -> torch.Tensor:
    """Depends on the place within the window, so that blending matters."""
    ramp = torch.arange(window[0, 0].numel(), dtype=torch.float32).view(1, 1, *window.shape[2:]) / window[0, 0].numel()
    return torch.cat([window * ramp, window * window * 0.25 - ramp], dim=1)


def main() -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(3)
    for name, (shape, window, batch, overlap, mode, sigma_scale, value) in CASES.items():
        voxels = torch.randn((1, 1, *shape), generator=generator)
        expected = sliding_window_inference(
            voxels, window, batch, scores, overlap=overlap, mode=mode, sigma_scale=sigma_scale, padding_mode="constant", cval=value
        )
        np.savez_compressed(
            HERE / f"{name}.npz",
            voxels=voxels.numpy(),
            expected=expected.numpy(),
            window=np.array([*window, batch], np.int64),
            settings=np.array([overlap, sigma_scale if mode == "gaussian" else -1.0, value], np.float64),
        )


if __name__ == "__main__":
    main()
