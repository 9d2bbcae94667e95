"""The rules of Score: plain functions on frozen dataclasses, no I/O."""
