"""The SDK of Song and Score, and the commands song and score."""
