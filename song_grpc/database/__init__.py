"""Studies, types, analyses, entities and the outbox in SQL."""
