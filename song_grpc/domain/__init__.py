"""The rules of Song: plain functions on frozen dataclasses, no I/O."""
