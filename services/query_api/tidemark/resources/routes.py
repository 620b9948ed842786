"""The endpoints of posts, targets and channels."""

from __future__ import annotations

from services.query_api.tidemark.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = ()
