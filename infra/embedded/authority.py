"""The certificate authority of one data folder, and the certificates of its engines.

In: a folder. Out: PEM files that their owner alone may read: `ca.crt`, `ca.key`, and for each server a certificate with
its key. Certificates name 127.0.0.1 and localhost. A certificate that soon ends is made anew at the next start.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.embedded.datadir import write_atomically
from infra.embedded.errors import DataDirError

_AUTHORITY_DAYS = 3650
_DAYS = 825
_RENEWED_BEFORE_DAYS = 60
# Clocks of two processes may differ a little, also those of virtual machines.
_BEFORE = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Paths of a certificate's PEM files.

    Attributes:
        both: one file with key and certificate, as Kafka reads them.
    """

    certificate: Path
    key: Path
    both: Path


class Authority:
    """An authority whose files are kept in a folder.

    Raises:
        DataDirError: the folder cannot be written, or its files are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate = folder / "ca.crt"
        self._key_path = folder / "ca.key"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self.certificate.exists() and self._key_path.exists()):
                self._make()
            self._key = _read_key(self._key_path)
            self._name = x509.load_pem_x509_certificate(self.certificate.read_bytes()).subject
        except OSError as error:
            raise DataDirError(f"cannot write {folder} ({error.strerror}): choose another --data-dir") from error
        except ValueError as error:
            raise DataDirError(f"{folder} holds damaged certificates: remove that folder") from error

    def issue(self, name: str, *, days: int = _DAYS) -> Certificate:
        """The certificate of this name, for a server or client on this machine; made where it is missing or ends soon.

        Args:
            name: the certificate's common name, and the beginning of its files' names.
        """
        made = Certificate(*(self._folder / f"{name}.{end}" for end in ("crt", "key", "pem")))
        if not _lasts(made):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._signed(name, key, days)
            _write(made.key, _pem(key))
            _write(made.certificate, certificate)
            _write(made.both, _pem(key) + certificate)
        return made

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("Tidemark, this data folder's authority")
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        made = (
            _begun(name, name, key.public_key(), now, _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(self._key_path, _pem(key))
        _write(self.certificate, made.public_bytes(serialization.Encoding.PEM))

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, days: int) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        places = [x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "::1"))]
        made = (
            _begun(_named(name), self._name, key.public_key(), now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(places), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _lasts(held: Certificate) -> bool:
    try:
        found = x509.load_pem_x509_certificate(held.certificate.read_bytes())
        _read_key(held.key)
    except (OSError, ValueError):
        return False
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left > datetime.timedelta(days=_RENEWED_BEFORE_DAYS) and held.both.exists()


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds another kind of key")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, pem: bytes) -> None:
    write_atomically(path, pem.decode("ascii"))
