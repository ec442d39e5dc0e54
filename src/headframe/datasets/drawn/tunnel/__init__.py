"""Dark mine tunnels drawn with exact masks of six classes, as photographs and as films."""

from headframe.datasets.drawn.tunnel.collection import (
    TunnelOptions,
    TunnelReport,
    draw_picture,
    draw_tunnels,
)
from headframe.datasets.drawn.tunnel.picture import Picture
from headframe.datasets.drawn.tunnel.scene import CLASSES, Instance

__all__ = [
    "CLASSES",
    "Instance",
    "Picture",
    "TunnelOptions",
    "TunnelReport",
    "draw_picture",
    "draw_tunnels",
]
