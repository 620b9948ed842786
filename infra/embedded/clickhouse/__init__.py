"""ClickHouse's HTTP interface over chDB, the ClickHouse engine as a library: one process, one data directory.

    __main__    command line, signals, start and end         lock        one process a directory
    app         one request -> one statement -> its rows     reply       sending, and noticing that the client left
    request     what an HTTP request says                    compression content encodings
    bodies      SQL and data, in memory or on disk           inserts     INSERTs as the engine confirms them
    disk        nothing confirmed that a full disk cut
    statements  what a statement is, by its tokens           errors      codes, statuses, texts
    access      users and passwords                          analyst     what the analyst may run, by syntax tree
    engine      chDB: handles, threads, running statements   config      settings, the engine's configuration

Differences from a server, all of them refused with a clear error unless said otherwise:

- ClickHouse's own block compression (`compress=1`, `decompress=1`); JDBC clients need `compress=0`.
- `client_protocol_version` is ignored, as if it were 0: what asks for a newer Native format (clickhouse-go over
  HTTP) cannot read it. External data (temporary tables sent with a request).
- Sessions: `session_id` is accepted and ignored, so SET, USE and temporary tables last for their own request.
- Users, roles and row policies in SQL: the two users are this process's own.
- Results in a format that cannot be cut into blocks (JSON, Parquet, the *WithNames formats...) are held in memory
  whole; Native, TSV, CSV, RowBinary and JSONEachRow are streamed.
"""
