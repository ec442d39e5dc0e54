"""`headframe dataset layers` and `bits`: one form of component labels from the other."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", "-o", help="GeoTIFF to write.")]


def layers(
    mask: Annotated[Path, typer.Argument(help="GeoTIFF of bit masks.", metavar="BITS.tif")],
    *,
    out: Out,
) -> None:
    """Spread a mask of mine components into ten layers of 0 and 1, on the same grid.

    Bands are described by the components' names; 255 is where nobody labelled.

    Examples:
        headframe dataset layers chips/train/labels/alpha/00000.tif --out layers.tif
    """
    from headframe.cli import console
    from headframe.io.bitmask import bits_to_layers

    bits_to_layers(mask, out)
    console.say(f"{out}: ten layers of {mask}")


def bits(
    stack: Annotated[Path, typer.Argument(help="GeoTIFF of ten layers.", metavar="LAYERS.tif")],
    *,
    out: Out,
) -> None:
    """Gather ten layers of mine components into one mask, on the same grid.

    Layers are told by their descriptions, in any order; bit k of the mask is component k.

    Examples:
        headframe dataset bits layers.tif --out chips/train/labels/alpha/00000.tif
    """
    from headframe.cli import console
    from headframe.io.bitmask import layers_to_bits

    layers_to_bits(stack, out)
    console.say(f"{out}: mask of {stack}")
