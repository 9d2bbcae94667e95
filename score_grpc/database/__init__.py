"""The ledger: uploads, parts and objects in SQL."""
