"""Inputs as strangers send them, and a process's state given back after each test."""

import io
import logging
import signal
import warnings
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin
from rasterio.warp import transform

from headframe.core.classmap import binary_class_map
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.engine.box_sam_bundle import BoxSamBundle, build_box_sam, save_box_sam
from headframe.engine.bundle import Bundle, save_bundle
from headframe.engine.detector_bundle import DetectorBundle, save_detector
from headframe.engine.detectors import build_detector
from headframe.models.registry import build_network

BANDS = ("B02", "B03", "B04")
CORNER = (500_000.0, 7_800_000.0)
PIXEL_M = 10.0


def pixels(height=96, width=128, bands=3, seed=0):
    rng = np.random.default_rng(seed)
    values = 800 + 300 * rng.random((bands, height, width))
    values[:, 20:60, 30:90] += 1500
    return values.astype(np.uint16)


def write_scene(path, values=None, *, crs="EPSG:32723", names=BANDS, east_m=0, **profile):
    values = pixels() if values is None else values
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    place = {"crs": crs, "transform": corner(east_m)} if crs else {}
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", **shape, **place, **profile) as file,
    ):
        file.write(values)
        if names:
            file.descriptions = tuple(names)[:count]
    return path


def corner(east_m):
    return from_origin(CORNER[0] + east_m, CORNER[1], PIXEL_M, PIXEL_M)


def ring(left=30, top=20, right=90, bottom=60, *, east_m=0):
    """Closed ring around pixels of the good scene, longitude and latitude."""
    xs = [CORNER[0] + east_m + PIXEL_M * c for c in (left, right, right, left, left)]
    ys = [CORNER[1] - PIXEL_M * r for r in (bottom, bottom, top, top, bottom)]
    lon, lat = transform("EPSG:32723", "EPSG:4326", xs, ys)
    return " ".join(f"{x:.8f},{y:.8f}" for x, y in zip(lon, lat, strict=True))


def kml(site="alpha", coordinates=None, *, prolog="", name=None):
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prolog}'
        '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark>'
        f"<name>{name or site}</name>"
        f'<ExtendedData><Data name="site"><value>{site}</value></Data></ExtendedData>'
        "<Polygon><outerBoundaryIs><LinearRing><coordinates>"
        f"{coordinates or ring()}"
        "</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark></Document></kml>"
    )


def kml_with_entity():
    prolog = '<!DOCTYPE kml [<!ENTITY leak SYSTEM "file:///etc/passwd">]>'
    return kml(prolog=prolog, name="&leak;")


def kmz_bomb():
    """An archive of 200 kB that holds 200 MB of spaces."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("doc.kml", kml() + " " * 200_000_000)
    return buffer.getvalue()


def bundle(folder):
    """Write a model bundle of red, green and blue with random weights."""
    torch.manual_seed(0)
    names = ("red", "green", "blue")
    inputs = InputSpec(
        "sentinel-2-l1c", names, 10.0, (0.15,) * 3, (0.1,) * 3, ((0.02, 0.1, 0.4),) * 3
    )
    spec = ModelSpec(
        name="random",
        architecture="fpn",
        options={},
        inputs=inputs,
        classes=binary_class_map("tailings"),
        patch_px=64,
    )
    network = build_network("fpn", names, 1, spec.options)
    save_bundle(Bundle(spec, network.eval()), folder)
    return folder


@pytest.fixture(scope="session")
def make():
    """Writers of scenes, outlines and bundles."""
    return SimpleNamespace(
        pixels=pixels,
        scene=write_scene,
        ring=ring,
        kml=kml,
        kml_with_entity=kml_with_entity,
        kmz_bomb=kmz_bomb,
        bundle=bundle,
    )


@pytest.fixture(autouse=True)
def process_state():
    """Give back the signals, handlers and filters that main() sets for a process of its own."""
    numbers = (signal.SIGTERM, signal.SIGXFSZ)
    signals = {number: signal.getsignal(number) for number in numbers}
    loggers = [logging.getLogger(), logging.getLogger("headframe")]
    handlers = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    with warnings.catch_warnings():
        yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    for log, kept, level, propagate in handlers:
        log.handlers[:] = kept
        log.setLevel(level)
        log.propagate = propagate


@pytest.fixture(scope="session")
def tiny_parts(tmp_path_factory):
    """Folder with a tiny untrained detector of persons (``d``) and a SAM for its boxes (``s``)."""
    root = tmp_path_factory.mktemp("parts")
    options = {"channels": 8, "frozen_norm": False, "min_px": 48, "max_px": 64, "anchor_px": 8}
    options |= {"proposals": 20, "sampled": 16, "most": 3}
    torch.manual_seed(0)
    network = build_detector("maskrcnn", options, classes=1)
    save_detector(
        DetectorBundle("d", "maskrcnn", options, ("person",), "stretch", network), root / "d"
    )
    sam, sha256 = build_box_sam(1, base="tiny")
    save_box_sam(BoxSamBundle("s", "tiny", sha256, "decoder", 4, ("person",), sam), root / "s")
    return root
