"""ClickHouse's HTTP interface over chDB, the ClickHouse engine as a library: one process, one data directory.

    __main__    command line, signals, start and end         lock        one process a directory
    app         one request -> one statement -> its rows     reply       sending, and noticing that the client left
    request     what an HTTP request says                    compression content encodings
    bodies      SQL and data, in memory or on disk           inserts     INSERTs as the engine confirms them
    disk        nothing confirmed that a full disk cut       multipart   forms
    native_compression  ClickHouse's own compression         native_blocks  Native for a protocol version
    sessions    what stays for the next request              defaults    settings that say nothing
    headers     what a reply's headers say                   pieces      its body in parts
    statements  what a statement is, by its tokens           errors      codes, statuses, texts
    access      users and passwords                          analyst     what the analyst may run, by syntax tree
    engine      chDB: handles, threads, running statements   config      settings, the engine's configuration

Differences from a server, all of them refused with a clear error unless said otherwise:

- Native blocks for a `client_protocol_version` hold no JSON, Dynamic, Variant and AggregateFunction columns.
- External data (temporary tables sent with a request).
- A session that keeps something (SET, USE, temporary tables) takes no readonly requests, and the analyst keeps nothing.
- Users, roles and row policies in SQL: the two users are this process's own.
- Results in a format that cannot be cut into blocks (JSON, Parquet, the *WithNames formats...) are held in memory
  whole; Native, TSV, CSV, RowBinary and JSONEachRow are streamed.
"""
