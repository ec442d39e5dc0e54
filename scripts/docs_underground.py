"""Draw the pictures of real frames below ground into docs/pictures, which is never committed.

What the shipped chain finds on them, and what the shipped enhancer makes of them. Without
../shared/data, or without the models, there is no such picture, and the page says so.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import numpy.typing as npt
from docs_pictures import PICTURES, SHARED, save

from headframe.engine.enhancer_bundle import load_enhancer, shipped_enhancers
from headframe.io.images import find_images, read_float, read_image
from headframe.underground.chain_names import shipped_chains
from headframe.underground.segment.run import segment_sources
from headframe.underground.segment.work import SegmentOptions

CHAIN, ENHANCER = "dis-mine-person", "kind-s"
PST900 = ("utils_rgb_loader.png", "clr_rgb.png")
FRAME_PX = (270, 480)
Pixels = npt.NDArray[np.uint8]


def fitted(pixels: Pixels) -> Pixels:
    """Bring a picture (H, W, 3) into ``FRAME_PX``, its shape kept."""
    scale = min(FRAME_PX[0] / pixels.shape[0], FRAME_PX[1] / pixels.shape[1])
    size = max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def frames() -> list[Path]:
    """Give the frames that are shown: a coal mine's, a tunnel's, dark rooms'."""
    found = find_images([SHARED / "coal-mine-frames"])
    found += [SHARED / "pst900" / name for name in PST900]
    return found + find_images([SHARED / "lol-dark"])


def found() -> None:
    """Frames as the camera stored them, and what the shipped chain finds on them."""
    shown: list[tuple[str, Pixels]] = []
    for path in frames():
        with TemporaryDirectory() as folder:
            options = SegmentOptions(overlay_px=FRAME_PX[1])
            segment_sources([str(path)], model=CHAIN, out=Path(folder), options=options)
            (drawn,) = find_images([Path(folder) / "overlays"])
            shown += [(path.name, fitted(read_image(path))), ("found", fitted(read_image(drawn)))]
    save("underground-found.png", shown, columns=4, row_in=2.0)


def enhanced() -> None:
    """Dark photographs enhanced; of pairs the bright one too."""
    shown: list[tuple[str, Pixels]] = []
    pairs = find_images([SHARED / "lol-pairs" / "test" / "imgs"])
    for path in [*pairs, *find_images([SHARED / "lol-dark"])[:2], *frames()[:1]]:
        pixels = read_float(path)
        row = [("as stored", pixels)]
        row += [(name, load_enhancer(name)(pixels)) for name in ("gamma", "clahe", ENHANCER)]
        truth = path.parents[1] / "targets" / path.name
        if truth.is_file():
            row.append(("in good light", read_float(truth)))
        row += [("", np.ones_like(pixels))] * (5 - len(row))
        levels = [(name, np.rint(v.transpose(1, 2, 0) * 255).astype(np.uint8)) for name, v in row]
        shown += [(name, fitted(picture)) for name, picture in levels]
    save("underground-enhanced.png", shown, columns=5, row_in=2.0)


def main() -> None:
    if not SHARED.is_dir():
        return
    PICTURES.mkdir(parents=True, exist_ok=True)
    if ENHANCER in shipped_enhancers():
        enhanced()
    if CHAIN in shipped_chains():
        found()


if __name__ == "__main__":
    main()
