"""Song: metadata that is always valid."""
