"""The query API's own store: the compacted topics on disk, by key and in the order of their changes.

`layout` and `records` say what lies where, `messages` says what counts, `files` opens it, `writing` takes batches in,
`feeding` fills it from Kafka in one process of a replica, at first with the help of others (`filling`, `unpacking`),
`handle` is what every process reads by, `reading` and `changes` answer. It knows nothing of HTTP, of products and of
ClickHouse. Decision: docs/decisions/0025-a-store-of-our-own.md.
"""
