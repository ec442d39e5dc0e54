"""Grids, windows, tiling, blending weights and polygon maths: pure."""
