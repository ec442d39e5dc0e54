import av
import numpy as np
import pytest


def tunnel(number, height=48, width=62):
    """Draw a frame: a lamp that moves right, a floor, and grain."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[0:height, 0:width]
    lamp = 160 * np.exp(-((rows - 12) ** 2 + (columns - 6 - 1.5 * number) ** 2) / 120)
    floor = np.where(rows > height * 0.7, 60, 25) + 15 * np.sin(columns / 3)
    grain = rng.normal(0, 3, (height, width))
    return np.clip(np.stack([lamp + floor + grain] * 3, -1) * (1, 0.9, 0.8), 0, 255).astype(
        np.uint8
    )


@pytest.fixture
def make_video():
    """Give a function that writes a drawn video, 10 frames a second."""

    def make(path, *, frames=30, rotation=0, container=None, pts=None, codec="libx264"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options=container or {}) as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 62, 48, "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(tunnel(number), format="rgb24")
                frame.pts = number if pts is None else pts[number]
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path

    return make
