"""The object store port and its adapters, one module per store."""
