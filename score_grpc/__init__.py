"""Score: bytes that are always whole."""
