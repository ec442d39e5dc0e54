"""The page that lies beside drawn tunnels: what they are, how they were made, what is in them."""

from collections.abc import Mapping
from typing import Any

from headframe import __version__

_PAGE = """# Drawn mine tunnels

No photographs: every pixel was computed by Headframe {version} from the options below, and the
same options give the same files. They show and test the whole way without data; what a network
scores on them says little of a real mine.

| | |
| --- | --- |
| `images/TUNNEL/NNNN.png` | {light:g} of the light, shot noise of 4,000 electrons, read noise |
| `bright/TUNNEL/NNNN.png` | the same, well exposed and without noise |
| `instances.json` | COCO, run lengths, exact and without overlap |
| `via.json` | the same in VIA 2; parts of one object share `object_id` |
| `films/*.mp4`, `films/*.json` | {films} films, dark and bright, with labels of every frame |
| `draw.json` | what was asked for |

Split by tunnel (the folder), never by photograph: photographs of one tunnel show the same rock.

| class | regions | photographs that show it, of {images} |
| --- | ---: | ---: |
{classes}

Options: {options}
"""


def describe(
    options: Mapping[str, Any], regions: Mapping[str, int], seen: Mapping[str, int]
) -> str:
    """Write the page of a data set.

    Args:
        options: what was asked for.
        regions: labels by class.
        seen: photographs by class.
    """
    rows = [f"| {name} | {count} | {seen[name]} |" for name, count in regions.items()]
    return _PAGE.format(
        version=__version__,
        light=options["light"],
        films=options["films"],
        images=options["images"],
        classes="\n".join(rows),
        options=", ".join(f"{name} {value}" for name, value in options.items()),
    )
