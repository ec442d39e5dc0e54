"""Photographs, videos and cameras segmented into files."""
