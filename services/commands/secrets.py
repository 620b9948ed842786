"""`tidemark secrets`: what TIDEMARK_SECRET_KEYS encrypt at rest."""

from __future__ import annotations

import typer

secrets = typer.Typer(help="What TIDEMARK_SECRET_KEYS encrypt at rest.", no_args_is_help=True)


@secrets.command("reencrypt")
def secrets_reencrypt() -> None:
    """Encrypt tokens and webhooks' secrets anew with the first of TIDEMARK_SECRET_KEYS; services may run meanwhile.

    Afterwards the older keys can be taken out. Exits 1 when something is left that no key opens.
    """
    from services.commands.renewal import run

    raise typer.Exit(run())
