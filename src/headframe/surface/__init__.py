"""Mapping mines from orbit: label equations and rules."""
