"""Answering a prompt: the tile that suits it, and further tiles where the object is larger."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from headframe.core.errors import GeometryError, InputError
from headframe.engine.prompting.decoding import (
    UNKNOWN,
    Collage,
    Logits,
    TilePrompt,
    crop,
    decode_tile,
    finer,
    of_scene,
)
from headframe.engine.prompting.embeddings import SceneEmbeddings, SceneTile, TileEmbedding
from headframe.engine.prompting.prompts import PixelPrompt
from headframe.geo.window import Window

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

_ROOM = 1 / 16
"""Share of a frame that is left around a box, so that its surroundings are seen."""
_EDGE_PX = 2
_TOUCH_PX = 4
"""So many pixels of the object in a tile's outermost ``_EDGE_PX`` pixels: it goes on beyond."""
_BAND_PX = 8
"""Half-width, in pixels of the coarse level, of the band along an outline that is drawn anew."""
_FINEST = 1
"""The level on which outlines of objects that no frame holds are drawn anew."""
_INNER = 1 / 8
"""Share of a tile at each side that is not trusted to cover the band."""


@dataclass(frozen=True)
class AnswerOptions:
    """How far an answer may go.

    Attributes:
        max_tiles: frames of the network that one object may take, >= 1.
    """

    max_tiles: int = 16

    def __post_init__(self) -> None:
        """Check the number."""
        if self.max_tiles < 1:
            raise InputError(f"--max-tiles {self.max_tiles} is not 1 or more.")


@dataclass(frozen=True)
class Answer:
    """What was found for a prompt.

    Attributes:
        logits: of the object, on the finest level that was reached.
        tiles: how many frames it took.
        cut: the object goes on beyond the frames that were allowed.
    """

    logits: Logits
    tiles: int
    cut: bool = False


@dataclass
class _Course:
    """One answer on its way: what is asked, and the tiles that it has used."""

    scene: SceneEmbeddings
    prompt: PixelPrompt
    options: AnswerOptions
    used: int = 0
    seen: dict[str, TileEmbedding] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.options.max_tiles - self.used

    def at(self, tile: SceneTile) -> TileEmbedding:
        if tile.name not in self.seen:
            self.seen[tile.name] = self.scene.at(tile)
        return self.seen[tile.name]

    def decode(self, tile: SceneTile, said: TilePrompt) -> Logits:
        self.used += 1
        return decode_tile(self.scene.prompter, self.at(tile), said)

    def ask(self, tile: SceneTile) -> Logits:
        """Ask a tile what the person asked."""
        with_mask = self.scene.prompter.takes_masks
        return self.decode(tile, TilePrompt.of(self.prompt, tile, with_mask=with_mask))

    def ask_again(self, tile: SceneTile, known: Logits, *, rough_px: int | None) -> Logits:
        """Ask a tile for the object of which a part is known already.

        Args:
            tile: another tile.
            known: on the tile's level.
            rough_px: ``known`` is whole, but may be off by so many pixels; None: what the tile
                has beyond ``known`` is not known.
        """
        prompter = self.scene.prompter
        there = crop(known, tile.window) > 0
        middle = of_scene(_pole(there)[None], tile)
        inside = np.concatenate([self.prompt.inside, middle])
        box = None
        if rough_px is not None:
            box = of_scene(_bounds(there, rough_px), tile).reshape(4)
        mask = there if prompter.takes_masks else None
        return self.decode(tile, TilePrompt(inside, self.prompt.outside, box, mask))


def answer(
    scene: SceneEmbeddings, prompt: PixelPrompt, options: AnswerOptions | None = None
) -> Answer:
    """Find the object that is meant.

    A tile is chosen in which the prompt lies as centrally as may be: on the scene itself, or, for
    a box that no frame holds, on the first level on which one does.

    Args:
        scene: with its network.
        prompt: in pixels of the scene, from ``PixelFrame.to_pixels``.
        options: how far to go.

    Raises:
        GeometryError: there is no data where the prompt points.
    """
    course = _Course(scene, prompt, options or AnswerOptions())
    _refuse_nodata(scene, prompt)
    tile = place(scene, prompt.extent, room=prompt.box is not None)
    found = course.ask(tile)
    if tile.level > 0:
        return redrawn(course, found)
    if prompt.box is None and scene.prompter.takes_points and touches(scene, found):
        return grown(course, tile, found)
    return Answer(found, course.used)


def place(
    scene: SceneEmbeddings, extent: FloatArray, *, room: bool = False, level: int = 0
) -> SceneTile:
    """Choose the tile whose middle is nearest to that of an extent which it holds.

    Args:
        scene: with its tiles.
        extent: (4,) x0 y0 x1 y1, pixels of the scene.
        room: also around it there must be some, where the scene goes on.
        level: the first level to look at; the last one fits all.
    """
    height, width = scene.scene.shape
    for current in range(level, scene.levels):
        margin = _ROOM * scene.size_px * 2**current if room else 0.0
        x0, y0 = np.maximum(extent[:2] - margin, 0)
        x1, y1 = np.minimum(extent[2:] + margin, (width, height))
        rows, cols = scene.axes(current)
        row = _nearest(rows.starts, scene.size_px, y0 / 2**current, y1 / 2**current)
        col = _nearest(cols.starts, scene.size_px, x0 / 2**current, x1 / 2**current)
        if row is not None and col is not None:
            return scene.tile(current, row, col)
    return scene.tile(scene.levels - 1, 0, 0)


def _nearest(starts: tuple[int, ...], size: int, low: float, high: float) -> int | None:
    """Number of the start whose [start, start + size) holds [low, high] most centrally."""
    holds = [i for i, start in enumerate(starts) if start <= low and high <= start + size]
    middle = (low + high) / 2
    return min(holds, key=lambda i: abs(starts[i] + size / 2 - middle), default=None)


def touches(scene: SceneEmbeddings, found: Logits) -> bool:
    """Tell whether an object reaches an edge of its window where the scene goes on."""
    return any(_reached(scene, found, found.window).values())


def _reached(scene: SceneEmbeddings, found: Logits, window: Window) -> dict[tuple[int, int], bool]:
    """Tell for each side (row step, column step) whether the object reaches it and may go on."""
    height, width = scene.shape(found.level)
    mask = crop(found, window) > 0
    sides = {
        (-1, 0): (mask[:_EDGE_PX], window.row > 0),
        (1, 0): (mask[-_EDGE_PX:], window.row + window.height < height),
        (0, -1): (mask[:, :_EDGE_PX], window.col > 0),
        (0, 1): (mask[:, -_EDGE_PX:], window.col + window.width < width),
    }
    return {side: open_ and int(edge.sum()) >= _TOUCH_PX for side, (edge, open_) in sides.items()}


def grown(course: _Course, tile: SceneTile, found: Logits) -> Answer:
    """Follow an object from its tile to the neighbours that it reaches into."""
    scene = course.scene
    collage = Collage(tile.level)
    collage.add(found)
    done, waiting = {(tile.row, tile.col)}, [tile]
    merged = found
    rows, cols = scene.axes(tile.level)
    while waiting and course.left > 0:
        current = waiting.pop(0)
        for (down, across), reached in _reached(scene, merged, current.window).items():
            row, col = current.row + down, current.col + across
            inside = 0 <= row < len(rows) and 0 <= col < len(cols)
            if not (reached and inside) or (row, col) in done or course.left == 0:
                continue
            done.add((row, col))
            neighbour = scene.tile(tile.level, row, col)
            collage.add(course.ask_again(neighbour, merged, rough_px=None))
            merged = collage.merged()
            waiting.append(neighbour)
    return Answer(merged, course.used, touches(scene, merged))


def redrawn(course: _Course, coarse: Logits) -> Answer:
    """Draw the outline of an object anew on the finest level that ``max_tiles`` allow.

    In a band along the outline, the mean of the coarse and the fine logits decides: a tile alone
    sees too little of a large object, the coarse level too little of its edge. Level 1 is fine
    enough: drawn anew from there, outlines got worse, not better (EXPERIMENTS.md).
    """
    for level in range(_FINEST, coarse.level):
        known = finer(coarse, level)
        rough_px = 2 ** (coarse.level - level)
        band = _band(known.mask, _BAND_PX * rough_px)
        tiles = _cover(course.scene, level, band, known.window)
        tiles = [tile for tile in tiles if (crop(known, tile.window) > 0).any()]
        if not 0 < len(tiles) <= course.left:
            continue
        collage = Collage(level)
        for tile in tiles:
            collage.add(course.ask_again(tile, known, rough_px=rough_px))
        fine = collage.merged()
        there = crop(fine, known.window)
        both = band & (there > UNKNOWN) & (known.values > UNKNOWN)
        values = np.where(both, (there + known.values) / 2, known.values)
        score = (coarse.score + fine.score) / 2
        return Answer(Logits(level, known.window, values, score), course.used)
    return Answer(coarse, course.used)


def _band(mask: BoolArray, width_px: int) -> BoolArray:
    """Mark the pixels that are within ``width_px`` of a mask's outline."""
    near = ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)
    return np.asarray(near <= width_px)


def _cover(scene: SceneEmbeddings, level: int, band: BoolArray, window: Window) -> list[SceneTile]:
    """Choose tiles whose inner parts cover the band, each time the one that covers most."""
    missing = band.copy()
    candidates = [(tile, _inner(scene, tile, window)) for tile in scene.tiles(level)]
    candidates = [(tile, part) for tile, part in candidates if band[part].any()]
    chosen: list[SceneTile] = []
    while candidates:
        tile, part = max(candidates, key=lambda pair: int(missing[pair[1]].sum()))
        if not missing[part].any():
            break
        missing[part] = False
        chosen.append(tile)
    return chosen


def _inner(scene: SceneEmbeddings, tile: SceneTile, window: Window) -> tuple[slice, slice]:
    """Rows and columns of a window that are well inside a tile, or at the scene's own edge."""
    slices = []
    for start, side, length, base, size in (
        (
            tile.window.row,
            tile.window.height,
            scene.shape(tile.level)[0],
            window.row,
            window.height,
        ),
        (tile.window.col, tile.window.width, scene.shape(tile.level)[1], window.col, window.width),
    ):
        margin = int(_INNER * side)
        low = start + (margin if start > 0 else 0)
        high = start + side - (margin if start + side < length else 0)
        slices.append(slice(max(low - base, 0), min(max(high - base, 0), size)))
    return slices[0], slices[1]


def _pole(mask: BoolArray) -> FloatArray:
    """(2,) x and y of the centre of the pixel deepest inside a mask."""
    padded = np.pad(mask, 1)
    depth = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), mask.shape)
    return np.array([col + 0.5, row + 0.5])


def _bounds(mask: BoolArray, rough_px: int) -> FloatArray:
    """(2, 2) corners x y of a mask's bounds, widened by what it may be off."""
    corners = []
    for axis, side in ((0, mask.shape[1]), (1, mask.shape[0])):
        there = np.flatnonzero(mask.any(axis=axis))
        corners.append((max(there[0] - rough_px, 0), min(there[-1] + 1 + rough_px, side)))
    return np.array(corners, dtype=np.float64).T


def _refuse_nodata(scene: SceneEmbeddings, prompt: PixelPrompt) -> None:
    for x, y in prompt.inside:
        values = scene.scene.read(Window(int(y), int(x), 1, 1))
        if np.isnan(values).any():
            raise GeometryError(
                f"{scene.scene.source}: has no data at column {x:.0f}, row {y:.0f}, where point "
                f"of prompt {prompt.id} is. Point beside it."
            )
