"""ClickHouse's HTTP interface over chDB, the ClickHouse engine as a library: one process, one data directory."""
