"""One module per revision, the first words of its name its number."""
