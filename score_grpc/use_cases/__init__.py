"""One file per thing a caller can ask of Score."""
