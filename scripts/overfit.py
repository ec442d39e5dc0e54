"""Can every architecture learn eight drawn chips by heart? One row each: steps, seconds, IoU.

Eight drawn mines of fifteen bands, cut to 64 px around their excavations; the target is the union
of all components. Each architecture is built at its family's smallest size from a random start and
trained on the eight until the IoU on them, in evaluation mode, is above 0.9.

    nice python scripts/overfit.py                            # all of them: minutes
    python scripts/overfit.py linknet unet --side 128
    python scripts/overfit.py sam-litemedsam --peft lora      # on the published base, in RGB
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import ndimage

from headframe.core.bandsets import BAND_SETS
from headframe.core.components import CLASS_SETS, build_target
from headframe.datasets.drawn import draw_mine
from headframe.engine.bases import LITEMEDSAM, base_state, find_base
from headframe.losses.build import build_loss
from headframe.models.inflate import RGB
from headframe.models.registry import BUILDERS, build_network
from headframe.models.trainable import Embedder, set_trainable, trained_names

WANTED = 0.9
CHIPS = 8
BANDS = BAND_SETS["m+s"].bands
_EVERY = 5


@dataclass(frozen=True)
class Outcome:
    """What came of one architecture.

    Attributes:
        architecture: its name.
        steps: steps of training until the IoU was above ``WANTED``, or all.
        seconds: of training.
        iou: of the eight chips, pooled, in evaluation mode.
    """

    architecture: str
    steps: int
    seconds: float
    iou: float


def smallest() -> list[str]:
    """Every architecture, and of a family of sizes the smallest one; SAMs with prompts are none."""
    bigger = {"minesegsat-b1", "minesegsat-b3"}
    sams = {name for name in BUILDERS if name.startswith("sam-")}
    return [name for name in BUILDERS if name not in bigger | sams or name == "sam-tiny"]


def options_of(name: str, peft: str = "full") -> dict[str, object]:
    """The smallest encoder; nothing dropped at random, which would hinder learning by heart."""
    if name.startswith("minesegsat"):
        return {"dropout": 0.0, "drop_path": 0.0}
    if name.startswith("sam-"):
        return {"peft": peft}
    found: dict[str, object] = {"encoder": "tf_efficientnet_lite0"}
    if name in ("deeplabv3", "upernet"):
        found["decoder_options"] = {"decoder_channels": 64}
    return found


def draw_chips(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Chips (8, 15, H, W), each band of mean 0 and deviation 1, and labels (8, H, W)."""
    images, labels = [], []
    for seed in range(CHIPS):
        mine = draw_mine(seed, size=(max(side, 128), max(side, 144)), every=True)
        row, col = ndimage.center_of_mass(mine.bits & 1)
        height, width = mine.bits.shape
        top = int(np.clip(row - side / 2, 0, height - side))
        left = int(np.clip(col - side / 3, 0, width - side))
        part = (slice(top, top + side), slice(left, left + side))
        images.append(mine.bands[:, *part])
        labels.append(build_target(mine.bits[part], CLASS_SETS["components-4"]))
    stack = np.stack(images)
    mean, std = stack.mean(axis=(0, 2, 3)), stack.std(axis=(0, 2, 3))
    scaled = (stack - mean[:, None, None]) / std[:, None, None]
    return torch.from_numpy(scaled.astype(np.float32)), torch.from_numpy(np.stack(labels)).float()


def overfit(
    name: str, *, side: int = 64, most: int = 300, lr: float = 2e-3, peft: str = "full"
) -> Outcome:
    """Train one architecture on the eight chips until it knows them, or for ``most`` steps.

    ``peft`` says what is trained of a SAM; sam-litemedsam starts from the published base, sees red,
    green and blue alone, and takes smaller steps. What is frozen of it is run once.
    """
    torch.manual_seed(0)
    side = max(side, BUILDERS[name].min_px)
    images, labels = draw_chips(side)
    bands, state = BANDS, None
    if BUILDERS[name].base == LITEMEDSAM:
        bands, state, lr = RGB, base_state(find_base(LITEMEDSAM)), 5e-4
        images = images[:, [BANDS.index(band) for band in RGB]]
    network = build_network(name, bands, 1, options_of(name, peft), encoder_state=state)
    answer: Callable[[torch.Tensor], torch.Tensor] = network
    if isinstance(network, Embedder) and not network.encoder_names & trained_names(network):
        with torch.no_grad():
            images = network.eval().encode(images)
        answer = partial(network.decode, size=(side, side))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3  # a few dozen steps must do for the running statistics
    loss = build_loss("bce_dice")
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.0)
    began, best, step = time.perf_counter(), 0.0, 0
    while step < most and best <= WANTED:
        for _ in range(_EVERY):
            set_trainable(network)
            loss(answer(images), labels).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad()
        step += _EVERY
        network.eval()
        best = max(best, iou(answer, images, labels))
    return Outcome(name, step, round(time.perf_counter() - began, 1), round(best, 4))


def iou(
    answer: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, labels: torch.Tensor
) -> float:
    """Pooled IoU of a network in evaluation mode."""
    with torch.inference_mode():
        found = answer(images)[:, 0] > 0
    truth = labels > 0
    return float((found & truth).sum() / (found | truth).sum())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architectures", nargs="*", metavar="NAME", help="all if none is given")
    parser.add_argument("--side", type=int, default=64, help="pixels of a chip's side")
    parser.add_argument("--peft", default="full", help="what is trained of a SAM")
    parser.add_argument("--most", type=int, default=300, help="steps at most")
    words = parser.parse_args()
    print(f"{'architecture':16} {'steps':>5} {'seconds':>8} {'IoU':>6}")
    failed = 0
    for name in words.architectures or smallest():
        row = overfit(name, side=words.side, most=words.most, peft=words.peft)
        print(f"{name:16} {row.steps:5} {row.seconds:8.1f} {row.iou:6.3f}", flush=True)
        failed += row.iou <= WANTED
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
