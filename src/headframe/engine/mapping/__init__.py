"""Mapping whole scenes: read, tile, score, blend and write, in memory that stays flat."""

from headframe.engine.mapping.options import MapOptions, MapResult
from headframe.engine.mapping.scenes import map_components, map_scenes

__all__ = ["MapOptions", "MapResult", "map_components", "map_scenes"]
