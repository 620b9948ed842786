"""TLS of a client: which authorities it trusts, and the certificate by which it shows who it is.

In: paths of PEM files. Out: a context for connections, or one sentence that says which file can't be used. After
`renew`, the next connection of every context has the certificate and the authorities that the files hold by then.
"""

from __future__ import annotations

import os
import ssl
import weakref
from dataclasses import dataclass

# Contexts that clients of this process hold, and their files.
_in_use: weakref.WeakKeyDictionary[ssl.SSLContext, TlsFiles] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files of one client; None where there is none.

    Attributes:
        cafile: authorities to trust; None for the system's.
        certfile: the client's own certificate, with the chain to its authority.
        keyfile: the certificate's key; None where it lies in `certfile`.
    """

    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing differs from what every client does."""
        return not (self.cafile or self.certfile or self.keyfile)

    def check_certificate(self) -> None:
        """Check that certificate and key belong together.

        Raises:
            OSError: they don't, or one of them is damaged; `ssl.SSLError` is one.
        """
        if self.certfile:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.certfile, self.keyfile)

    def context(self) -> ssl.SSLContext:
        """A context that checks the server's name and certificate, made of the files as they are now.

        Raises:
            OSError: a file can't be read; `ssl.SSLError` is one.
        """
        made = ssl.create_default_context(cafile=self.cafile)
        if self.certfile:
            made.load_cert_chain(self.certfile, self.keyfile)
        _in_use[made] = self
        return made


def verifying(address: str, files: TlsFiles) -> ssl.SSLContext | bool:
    """What httpx checks certificates with: a context of the own files, or True for its own authorities.

    Raises:
        OSError: a file can't be read; `ssl.SSLError` is one.
    """
    return files.context() if address.startswith("https:") and not files.is_plain else True


def renew() -> list[str]:
    """Read the files of all contexts again; returns a sentence for each that can't be used, and stays as it was."""
    problems = []
    for context, files in list(_in_use.items()):
        try:
            if files.cafile:
                context.load_verify_locations(files.cafile)
            if files.certfile:
                files.check_certificate()
                context.load_cert_chain(files.certfile, files.keyfile)
        except OSError as error:
            problems.append(f"{files.certfile or files.cafile}: {error}")
    return problems


def why_unreadable(path: str, holds: str) -> str | None:
    """Why a PEM file can't be used, in words that follow its setting; None where it can be read.

    Args:
        holds: what the file holds, such as `a PEM file of certificate authorities`.
    """
    if os.path.isfile(path) and os.access(path, os.R_OK):
        return None
    return f"{path!r} can't be read; it is {holds}"
