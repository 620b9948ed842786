"""Secrets of webhooks open for their own webhook only, and after a rotation of the keys."""

from __future__ import annotations

import base64

import pytest

from services.runtime.sealing import SECRET_PREFIX, SigningSecrets, WebhookCipher, new_secret
from services.runtime.secrets import SecretsError

OLD, NEW = "an-old-key-of-the-tests", "a-new-key-of-the-tests"


def test_secrets_come_back_for_their_webhook_alone() -> None:
    cipher, secrets = WebhookCipher([OLD]), SigningSecrets(new_secret(), new_secret())
    sealed = cipher.seal(secrets, "w1", "wh_1")
    assert cipher.open(sealed, "w1", "wh_1") == secrets
    for workspace, webhook in (("w2", "wh_1"), ("w1", "wh_2"), ("w1w", "h_1")):
        with pytest.raises(SecretsError):
            cipher.open(sealed, workspace, webhook)


@pytest.mark.parametrize("damage", [lambda s: s[:-1], lambda s: b"tm2." + s[4:], lambda s: b"", lambda s: s[:10]])
def test_damaged_secrets_do_not_open(damage: object) -> None:
    cipher = WebhookCipher([OLD])
    with pytest.raises(SecretsError):
        cipher.open(damage(cipher.seal(SigningSecrets("whsec_AAAA"), "w1", "wh_1")), "w1", "wh_1")  # type: ignore[operator]


def test_a_new_key_in_front_opens_what_the_old_one_sealed_and_seals_itself() -> None:
    secrets = SigningSecrets(new_secret())
    both = WebhookCipher([NEW, OLD])
    assert both.open(WebhookCipher([OLD]).seal(secrets, "w", "h"), "w", "h") == secrets
    assert WebhookCipher([NEW]).open(both.seal(secrets, "w", "h"), "w", "h") == secrets


def test_no_secret_is_printed_and_each_has_256_bits() -> None:
    secret = new_secret()
    assert secret not in repr(SigningSecrets(secret, secret))
    assert len(base64.b64decode(secret.removeprefix(SECRET_PREFIX))) == 32
    assert new_secret() != secret


def test_keys_that_are_none_are_refused() -> None:
    with pytest.raises(SecretsError, match="TIDEMARK_SECRET_KEYS"):
        WebhookCipher([])
