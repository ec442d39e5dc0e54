"""Labels for many photographs out of a few labelled by hand: DIS-Mine's own loop, in rounds."""
