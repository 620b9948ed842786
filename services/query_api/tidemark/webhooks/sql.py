"""Queries of the log of deliveries. Pure."""

from __future__ import annotations

from typing import Final

COLUMNS: Final = (
    "delivery_id, type, status, tries, toUnixTimestamp64Milli(created_at), "
    "if(isNull(next_try_at), NULL, toUnixTimestamp64Milli(assumeNotNull(next_try_at))), "
    "if(isNull(tried_at), NULL, toUnixTimestamp64Milli(assumeNotNull(tried_at))), answer_status, answer, error"
)
_OF_WEBHOOK: Final = "workspace_id = {workspace:String} AND webhook_id = {webhook:String}"

PAGE: Final = f"""
SELECT {COLUMNS}
FROM webhook_deliveries FINAL
WHERE {_OF_WEBHOOK}
    AND ({{status:String}} = '' OR status = {{status:String}})
    AND ({{is_first:UInt8}} OR created_at < fromUnixTimestamp64Milli({{at:Int64}})
        OR (created_at = fromUnixTimestamp64Milli({{at:Int64}}) AND delivery_id > {{after:String}}))
ORDER BY created_at DESC, delivery_id
LIMIT {{limit:UInt32}}
"""
"""Newest first, ties by id; further rows begin after a row's instant and id."""

_CONTENT: Final = (
    "delivery_id, type, toUnixTimestamp64Milli(occurred_at), content, toUnixTimestamp64Milli(created_at), status"
)

ONE: Final = f"""
SELECT {_CONTENT}
FROM webhook_deliveries FINAL
WHERE {_OF_WEBHOOK} AND delivery_id = {{delivery:String}}
"""

SINCE: Final = f"""
SELECT {_CONTENT}
FROM webhook_deliveries FINAL
WHERE {_OF_WEBHOOK} AND created_at >= fromUnixTimestamp64Milli({{since:Int64}}) AND status != 'pending'
ORDER BY created_at, delivery_id
LIMIT {{limit:UInt32}}
"""
"""Finished deliveries since an instant, oldest first."""
