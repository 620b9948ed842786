"""The admin API: the catalog and the keys, written as events."""
