"""ClickHouse's HTTP interface over chDB, the ClickHouse engine as a library: one process, one data directory.

    __main__    command line, and the walls around it        confinement what the kernel takes from the process
    serving     the engine opened, signals, start and end    lock        one process a directory
    app         one request -> one statement -> its rows     reply       sending, and noticing that the client left
    request     what an HTTP request says                    compression content encodings
    bodies      SQL and data, in memory or on disk           inserts     INSERTs as the engine confirms them
    disk        nothing confirmed that a full disk cut       multipart   forms
    external    tables that come with a request              columns     their columns, read and written anew
    native_compression  ClickHouse's own compression         native_blocks  Native for a protocol version
    sessions    what stays for the next request              defaults    settings that say nothing
    headers     what a reply's headers say                   pieces      its body in parts
    statements  what a statement is, by its tokens           errors      codes, statuses, texts
    access      users and passwords; what may run            guests      slots and times of the analyst's statements
    analyst     what the analyst may run, by syntax tree     limits      what the analyst may spend and set
    forms       statements built from names                  rebuilding  a judged tree -> a statement's parts
    grammar     the engine's parser and writer               config      settings, the engine's configuration
    trees       syntax trees of any depth
    engine      chDB: handles, threads                       connection one statement at a time, and nothing left of it

Differences from a server; requests that need more are refused with a clear error, unless the line says otherwise:

- Native blocks for a `client_protocol_version` hold no JSON, Dynamic, Variant and AggregateFunction columns.
- Columns of external tables (sent with a request) are of plain types: no JSON, Dynamic, AggregateFunction or Nested.
- A session with SET, USE or temporary tables takes no readonly requests; the analyst's sessions keep nothing.
- Users, roles and row policies in SQL do not exist: `default`, `analyst` and `builder` are this process's own users.
- Results in a format that cannot be cut into blocks (JSON, Parquet, the *WithNames formats...) are held in memory
  whole; Native, TSV, CSV, RowBinary and JSONEachRow are streamed.
"""
