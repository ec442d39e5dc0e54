"""Films of a tunnel: the camera walks, people walk, the truth is known of every frame."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from headframe.core.progress import SILENT, Progress
from headframe.datasets.darken import DimCamera, darken_as_camera, seed_of
from headframe.datasets.drawn.tunnel.outlines import regions_of
from headframe.datasets.drawn.tunnel.picture import take
from headframe.datasets.drawn.tunnel.plan import make_plan
from headframe.datasets.drawn.tunnel.scene import stage
from headframe.datasets.drawn.tunnel.site import Site
from headframe.datasets.instances import LabelledImage
from headframe.io.video import VideoWriter

_CRF = 16


@dataclass(frozen=True)
class FilmOptions:
    """How a film is made.

    Attributes:
        size: height, width in pixels.
        seconds: its length.
        rate: frames a second.
        light: share of the light left.
    """

    size: tuple[int, int] = (480, 640)
    seconds: float = 4.0
    rate: int = 10
    light: float = 0.1

    @property
    def frames(self) -> int:
        """How many frames there are, one at least."""
        return max(1, round(self.seconds * self.rate))


def frame_name(film: str, index: int, seconds: float) -> str:
    """Name a frame as ``headframe underground frames`` does, so that labels fit its pictures."""
    return f"{film}-f{index:06d}-{seconds:010.3f}s.png"


def draw_film(
    site: Site, path: Path, *, seed: int, options: FilmOptions, progress: Progress = SILENT
) -> tuple[LabelledImage, ...]:
    """Film a tunnel, in the dark and in good light.

    Args:
        site: the tunnel.
        path: MP4 of the dark film; the bright one gets ``-bright`` after its name.
        seed: what goes on, and the noise.
        options: size and length.
        progress: told of every frame.

    Returns:
        Labels of each frame. An instance has one name in all of them.
    """
    plan = make_plan(site, seed_of(path.stem, seed) % 2**32, moving=True)
    camera = DimCamera(light=options.light)
    labels = []
    gain = None
    progress.start(f"Filming {path.stem}", options.frames)
    with ExitStack() as stack:
        bright = stack.enter_context(
            VideoWriter(path.with_stem(f"{path.stem}-bright"), rate=options.rate, crf=_CRF)
        )
        dark = stack.enter_context(VideoWriter(path, rate=options.rate, crf=_CRF))
        for index in range(options.frames):
            seconds = index / options.rate
            scene = stage(site, plan, size=options.size, seconds=seconds)
            picture = take(scene, plan, gain=gain)
            gain = picture.gain
            name = frame_name(path.stem, index, seconds)
            bright.write(picture.bright)
            dark.write(darken_as_camera(picture.bright, seed=seed_of(name, seed), camera=camera))
            regions = regions_of(picture.labels, picture.instances)
            labels.append(LabelledImage(name, *options.size, regions))
            progress.advance()
    progress.finish()
    return tuple(labels)
