"""A map of a real place: the newest clear Sentinel-2 scene of a public STAC API."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pystac_client
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from pystac_client.exceptions import APIError
from requests.exceptions import RequestException

from headframe.core.errors import CrsError, InputError, JobError
from headframe.core.progress import SILENT, Progress
from headframe.engine.bundle import Bundle, load_bundle
from headframe.engine.mapping import MapOptions, MapResult, map_scenes
from headframe.geo.window import Window
from headframe.io.files import replacing, write_json
from headframe.io.scene import SceneOptions, open_scene
from headframe.io.stac_search import EARTH_SEARCH
from headframe.surface.report import (
    Page,
    Picture,
    Section,
    Table,
    embed,
    tinted,
    true_colour,
    write_page,
)

_SCALE = 1e-4
_FOUND = (255, 226, 64)
_MESSAGE_CHARS = 160


@dataclass(frozen=True)
class LiveOptions:
    """Where to look for a scene, and how much of it to map.

    Attributes:
        stac_url: root of a STAC API.
        collection: name of its Sentinel-2 L2A collection.
        model: bundle folder, shipped name or hf://owner/name.
        side_m: side of the square that is mapped, metres.
        days: how far back scenes are looked for.
        cloud_percent: scenes with more cloud are left out.
    """

    stac_url: str = EARTH_SEARCH
    collection: str = "sentinel-2-l2a"
    model: str = "tailings-s2-rgb"
    side_m: float = 10_000.0
    days: int = 180
    cloud_percent: float = 15.0


@dataclass(frozen=True)
class LiveResult:
    """What was mapped.

    Attributes:
        item: id of the STAC item.
        date: day of the picture.
        cloud_percent: cloud cover of the whole item, as it states.
        area_ha: class name to area, hectares.
        outputs: kind of output to its file.
        report: the page.
    """

    item: str
    date: str
    cloud_percent: float
    area_ha: dict[str, float]
    outputs: dict[str, str]
    report: str


def map_live(
    longitude: float,
    latitude: float,
    *,
    out: Path,
    options: LiveOptions | None = None,
    progress: Progress = SILENT,
) -> LiveResult:
    """Map the square around a point on the newest clear scene that covers it.

    Only the square is fetched. The clipped scene is kept as reflectance times 10,000.

    Args:
        longitude: degrees east, WGS 84.
        latitude: degrees north, WGS 84.
        out: folder for the clip, the map and the report.
        options: where to look, and how large.
        progress: told of tiles.

    Raises:
        InputError: no such place, or the model is unknown.
        JobError: the API cannot be reached, or has no clear scene here.
        OutputError: ``out`` cannot be written.
    """
    options = options or LiveOptions()
    if not (-180 <= longitude <= 180 and -84 <= latitude <= 84):
        raise InputError(
            f"--live {longitude} {latitude}: no place with Sentinel-2 scenes; give longitude "
            "(-180 to 180), then latitude (-84 to 84)."
        )
    bundle = load_bundle(options.model)
    item = find_item(longitude, latitude, options)
    day = item.datetime or datetime.now(UTC)
    source = out / "item.json"
    item.make_asset_hrefs_absolute()
    write_json(source, item.to_dict(transform_hrefs=False))
    clip = out / f"live_{day:%Y%m%d}.tif"
    pixels = _clip(source, clip, bundle, place=(longitude, latitude), side_m=options.side_m)
    # The clip is in reflectance already: stating its unit keeps the guard for digital numbers out.
    unit = SceneOptions(scale=_SCALE, offset=0.0)
    mapped = map_scenes(
        [str(clip)],
        bundle=bundle,
        out=out / "maps",
        options=MapOptions(scene=unit, scores=True, min_area_ha=0.5),
        progress=progress,
    )[0]
    report = out / "report.html"
    result = LiveResult(
        item=item.id,
        date=f"{day:%Y-%m-%d}",
        cloud_percent=float(item.properties.get("eo:cloud_cover", float("nan"))),
        area_ha={k: v for k, v in (mapped.area_ha or {}).items() if k != "background"},
        outputs={"scene": str(clip), **mapped.outputs},
        report=str(report),
    )
    write_page(_page(result, mapped, pixels, bundle=bundle, options=options), report)
    return result


def find_item(longitude: float, latitude: float, options: LiveOptions) -> pystac.Item:
    """Ask the API for the newest clear scene over a point.

    Raises:
        JobError: it cannot be reached, gives no STAC, or has no such scene.
    """
    end = datetime.now(UTC)
    try:
        client = pystac_client.Client.open(options.stac_url, timeout=30)
        search = client.search(
            collections=[options.collection],
            intersects={"type": "Point", "coordinates": [longitude, latitude]},
            datetime=[end - timedelta(days=options.days), end],
            max_items=100,
        )
        items = list(search.items())
    except (APIError, RequestException, pystac.STACError, NotImplementedError) as exc:
        reason = " ".join(str(exc).split())[:_MESSAGE_CHARS]
        raise JobError(
            f"{options.stac_url}: the STAC API gives no answer ({reason}). "
            "Check the network, or name another API with --stac-url."
        ) from exc
    clear = [item for item in items if _cloud(item) <= options.cloud_percent]
    if not clear:
        least = f"; the clearest has {min(map(_cloud, items)):.0f} %" if items else ""
        raise JobError(
            f"{options.stac_url}: none of {len(items)} scenes of the last {options.days} days at "
            f"{longitude} {latitude} has at most {options.cloud_percent:.0f} % cloud{least}. "
            "Choose another place."
        )
    return max(clear, key=_taken)


def _taken(item: pystac.Item) -> datetime:
    return item.datetime or datetime.min.replace(tzinfo=UTC)


def _cloud(item: pystac.Item) -> float:
    value = item.properties.get("eo:cloud_cover")
    return float(value) if isinstance(value, int | float) else 100.0


def _clip(
    source: Path, clip: Path, bundle: Bundle, *, place: tuple[float, float], side_m: float
) -> NDArray[np.float32]:
    """Fetch the square around a place; write it as a GeoTIFF, return reflectance (C, H, W)."""
    inputs = bundle.spec.inputs
    with open_scene(source, inputs=inputs, options=SceneOptions()) as scene:
        if scene.geobox is None:
            raise CrsError(f"{scene.name}: the scene has no CRS, so the place cannot be found.")
        transform = scene.geobox.transform
        to_grid = Transformer.from_crs("EPSG:4326", str(scene.geobox.crs), always_xy=True)
        col, row = ~transform * to_grid.transform(*place)
        side = max(round(side_m / abs(transform.a)), 64)
        height, width = scene.shape
        top, left = max(int(row) - side // 2, 0), max(int(col) - side // 2, 0)
        bottom, right = min(int(row) + side // 2, height), min(int(col) + side // 2, width)
        if bottom <= top or right <= left:
            raise JobError(f"{scene.name}: {place[0]} {place[1]} lies outside its pixels.")
        pixels = scene.read(Window(top, left, bottom - top, right - left))
        crs = str(scene.geobox.crs)
    if not np.isfinite(pixels).any():
        raise JobError(f"{clip.stem}: the scene has no data around {place[0]} {place[1]}.")
    stored = np.where(np.isfinite(pixels), np.clip(np.rint(pixels / _SCALE), 1, 65535), 0)
    profile = {
        "driver": "GTiff",
        "count": len(inputs.bands),
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": "uint16",
        "crs": crs,
        "transform": transform * Affine.translation(left, top),
        "nodata": 0,
        "compress": "deflate",
    }
    with replacing(clip) as part, rasterio.open(part, "w", **profile) as target:
        target.write(stored.astype(np.uint16))
        target.descriptions = inputs.bands
    return pixels


def _page(
    result: LiveResult,
    mapped: MapResult,
    pixels: NDArray[np.float32],
    *,
    bundle: Bundle,
    options: LiveOptions,
) -> Page:
    """Say what was mapped, with pictures."""
    bands = list(bundle.spec.inputs.bands)
    rgb = [bands.index(n) if n in bands else 0 for n in ("red", "green", "blue")]
    colour = true_colour(pixels[rgb])
    with rasterio.open(result.outputs["classes"]) as source:
        classes = source.read(1)
    found = tinted(colour, (classes > 0) & (classes != 255), _FOUND)
    trained = bundle.spec.inputs.sensor
    return Page(
        title="A mine mapped from a live Sentinel-2 scene",
        lead=f"{result.item}, {result.date}, mapped with {bundle.spec.name}.",
        notice=(
            f"The model was trained on {trained}; this scene is Level-2A, whose shadows and haze "
            "are corrected away. Nothing here has been checked on the ground: "
            "read the map as a hint."
        ),
        tiles=(
            *(
                {"value": f"{ha:,.1f} ha", "label": f"{name}, mapped"}
                for name, ha in result.area_ha.items()
            ),
            {"value": f"{result.cloud_percent:.0f} %", "label": "cloud in the whole scene"},
            {"value": f"{mapped.seconds:,.0f} s", "label": "to map it"},
        ),
        sections=(
            Section(
                "Scene and map",
                (Picture(embed(colour), "Scene, true colour"), Picture(embed(found), "Map")),
            ),
        ),
        tables=(
            Table("Files", ("what", "where"), _rows(result.outputs.items()), numbers=False),
            Table("Source", ("", ""), _rows((("STAC API", options.stac_url),
                  ("collection", options.collection), ("item", result.item))), numbers=False),
        ),
        footer="Contains modified Copernicus Sentinel data.",
    )  # fmt: skip


def _rows(pairs: Iterable[tuple[str, Any]]) -> tuple[tuple[str, ...], ...]:
    return tuple((str(key), str(value)) for key, value in pairs)
