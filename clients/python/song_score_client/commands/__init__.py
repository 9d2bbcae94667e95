"""The commands song and score."""
