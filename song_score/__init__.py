"""Both services in one process: the embedded default."""
