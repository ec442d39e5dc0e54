"""Samples from files, splits, checks and statistics."""
