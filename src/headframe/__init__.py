"""Headframe: map and monitor mines from images, from orbit and below ground."""

__version__ = "0.1.0"
