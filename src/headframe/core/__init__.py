"""Errors, sensors, class maps and shared value types: pure."""
