"""Platforms to poll without accounts: one HTTP server that answers as they do, on one origin.

    python -m infra.sandbox --port 9800

What is asked is answered from pure functions (`curves`, `ids`): any id of a platform's form exists, was published at
the time that its id says, and has numbers that grow with the clock. So whoever knows the seed can compute what any
figure was at any instant, and `/_sandbox/served` tells what was answered when.

Tokens (`Authorization: Bearer`, on Instagram also `access_token`): any text. A few beginnings, with or without
`sandbox-` before them, fail as the platform does: `expired-`, `revoked-`, `forbidden-` (a scope is missing),
`limited-` (over the rate limit), `disabled-` (the account is suspended). `app-` is an app's token on X, without
private figures. What follows a `~` is the id of the token's own account.

Refresh tokens: any text, see `tokens`; each platform's token endpoint has its own path and form.

Ids: see `ids.BEHAVIOURS` for the endings that are gone, private or hidden.

Control: see `control`.
"""
