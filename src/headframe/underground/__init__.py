"""Below ground: from a dark video to frames, labels and instances."""
