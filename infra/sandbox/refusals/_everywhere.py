"""What stands between us and any platform, and refuses in its place: proxies, firewalls, pages to sign in to a network.

Source: RFC 6585 section 6 (pages of a network that has to be signed in to), and public reports of firewalls that block
a program by its address.
"""

from __future__ import annotations

from infra.sandbox.refusals.row import About, Refusal

_PAGE = "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{words}</p></body></html>\n"
_SIGN_IN = _PAGE.replace("{title}", "Sign in").replace("{words}", "Sign in to the network to go on.")
_BLOCKED = _PAGE.replace("{title}", "Access denied").replace("{words}", "You have been blocked.")


def rows_of(platform: str) -> tuple[Refusal, ...]:
    """The refusals that any platform's calls may meet on their way."""
    return (
        Refusal(
            platform,
            "html_401",
            "a network that has to be signed in to, RFC 6585",
            About.HOST,
            ("platform_unavailable",),
            "backs off; no token is taken for refused",
            401,
            _SIGN_IN,
        ),
        Refusal(
            platform,
            "html_403",
            "public reports of firewalls that block an address",
            About.HOST,
            ("platform_unavailable",),
            "backs off; no permission is taken for missing",
            403,
            _BLOCKED,
        ),
    )
