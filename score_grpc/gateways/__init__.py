"""Other systems, each behind a small port."""
