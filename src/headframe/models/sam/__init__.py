"""Segment Anything over several encoders: SAM, MobileSAM, LiteMedSAM."""

from headframe.models.sam.network import BASES, Prompts, Sam, build_sam

__all__ = ["BASES", "Prompts", "Sam", "build_sam"]
