"""Training losses; every one accepts an ignore index."""
