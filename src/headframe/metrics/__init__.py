"""Scores over label maps."""
