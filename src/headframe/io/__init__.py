"""Rasters, vectors, label images and files; no torch."""
