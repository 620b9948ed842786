"""Asks Kafka, the schema registry and ClickHouse once whether they can be used, before a service or command begins.

Comes in: settings. Goes out: a problem for each neighbour that can't be used, as one line that names the setting to
check. Each question takes at most `ANSWER_SECONDS`, also where an engine accepts connections and never answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas import clickhouse_rights
from schemas.kafka_rights import kafka_rights
from services.runtime.acls import installation, missing_rights
from services.runtime.kafka import confluent_options
from services.runtime.settings import ClickHouseSettings, KafkaSettings, RegistrySettings, Settings, exit_with
from services.runtime.tls import TlsFiles, verifying

ANSWER_SECONDS = 5.0
# ClickHouse's error codes for unknown users and wrong passwords.
_REFUSED_CODES = frozenset({"192", "193", "194", "497", "516"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a neighbour can't be used.

    Attributes:
        text: one line for a person, without any secret.
        is_refusal: whether the neighbour answered with a refusal, so that waiting does not help: a password or an
            address is wrong.
    """

    text: str
    is_refusal: bool


def problems(settings: Settings) -> list[Problem]:
    """Ask every neighbour that these settings name, all at once.

    Args:
        settings: any of `KafkaSettings`, `RegistrySettings`, `ClickHouseSettings`, or a class of several of them.

    Returns:
        the problems, refusals first; [] when all can be used.
    """
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda ask: ask(), _questions(settings)))
    found = [answer for answer in answers if answer is not None]
    return sorted(found, key=lambda problem: not problem.is_refusal)


def names(settings: Settings) -> list[str]:
    """What `problems` asks with these settings, for people."""
    named: list[tuple[type[Settings], str]] = [
        (KafkaSettings, "Kafka"),
        (RegistrySettings, "the schema registry"),
        (ClickHouseSettings, "ClickHouse"),
    ]
    return [name for kind, name in named if isinstance(settings, kind)]


def refuse_or_wait(settings: Settings, role: str | None = None) -> list[str]:
    """Check the neighbours at the start of a service; a refusal ends the process with one line.

    A wrong password or path does not mend itself, while a neighbour that does not answer yet may still start: the
    service waits for such a neighbour. A missing right in Kafka or ClickHouse is a refusal as well. In Kafka, rights
    are looked at only where clients have names (SASL or SSL).

    Args:
        role: the service's name in `schemas.kafka_rights` and `schemas.clickhouse_rights`; None looks at no rights.

    Returns:
        one line for the log for each neighbour that does not answer yet.
    """
    found = problems(settings)
    refusals = [problem.text for problem in found if problem.is_refusal]
    if refusals:
        exit_with("; ".join(refusals))
    if role and (lacking := lacking_rights(settings, role)):
        exit_with("; ".join(lacking))
    return [problem.text for problem in found]


def _questions(settings: Settings) -> Iterator[Callable[[], Problem | None]]:
    if isinstance(settings, KafkaSettings):
        kafka = settings
        yield lambda: ask_kafka(kafka)
    if isinstance(settings, RegistrySettings):
        registry = settings
        yield lambda: ask_registry(registry)
    if isinstance(settings, ClickHouseSettings):
        clickhouse = settings
        yield lambda: ask_clickhouse(clickhouse)


def ask_kafka(settings: KafkaSettings) -> Problem | None:
    """Whether a broker lists its topics."""
    errors: list[str] = []
    options: dict[str, Any] = {
        **confluent_options(settings),
        "log_level": 0,
        "error_cb": lambda error: errors.append(error.str()),
    }
    client = AdminClient(options)
    try:
        client.list_topics(timeout=ANSWER_SECONDS)
    except KafkaException as error:
        # The client's callback tells more than "timed out": a refused connection, a wrong password.
        is_refusal = any("authentication" in said.lower() or "SSL handshake" in said for said in errors)
        said = next((text for text in errors if "brokers are down" not in text), error.args[0].str())
        setting = "TIDEMARK_KAFKA_SASL_*" if is_refusal else "TIDEMARK_KAFKA_BOOTSTRAP"
        return Problem(f"Kafka can't be used at {settings.kafka_bootstrap} ({said}); check {setting}", is_refusal)
    return None


def lacking_rights(settings: Settings, role: str) -> list[str]:
    """One line for each neighbour whose rights don't suffice for a role; [] when all do.

    Args:
        role: of a service or command, in `schemas.kafka_rights` and `schemas.clickhouse_rights`.
    """
    asked = [
        ask_rights(settings, role) if isinstance(settings, KafkaSettings) else None,
        ask_grants(settings, role) if isinstance(settings, ClickHouseSettings) else None,
    ]
    return [line for line in asked if line is not None]


def ask_rights(settings: KafkaSettings, role: str) -> str | None:
    """One line that names the rights that the own principal lacks for a role; None when it has them all."""
    if settings.kafka_security_protocol == "PLAINTEXT":
        return None
    lacking = missing_rights(settings, kafka_rights(role, installation(settings)))
    if not lacking:
        return None
    user = settings.kafka_sasl_username or "the certificate's owner"
    return (
        f"Kafka's user {user} lacks {', '.join(map(str, lacking))}; `tidemark topics --acls --service {role}` prints"
        " the rights that are needed (a topic that does not exist looks the same: run `tidemark topics`)"
    )


def ask_grants(settings: ClickHouseSettings, role: str) -> str | None:
    """One line that names the grants that the own user lacks for a role; None when it has them all.

    Servers that do not know CHECK GRANT (before 24.11) are not asked further.
    """
    if role not in clickhouse_rights.ROLES:
        return None
    needed = [f"{what} ON {where}" for what, where in clickhouse_rights.privileges(role, settings.clickhouse_database)]
    if _is_granted(settings, ", ".join(needed)) is not False:
        return None
    lacking = [right for right in needed if _is_granted(settings, right) is False]
    return (
        f"ClickHouse's user {settings.clickhouse_connection()['username']} lacks {', '.join(lacking)}; "
        f"`tidemark migrate --grants --service {role}` prints the grants that are needed"
    )


def _is_granted(settings: ClickHouseSettings, rights: str) -> bool | None:
    """Whether the own user has all of these rights; None where the server does not tell."""
    try:
        reply = _clickhouse_reply(settings, f"CHECK GRANT {rights}")
    except httpx.HTTPError:
        return None
    return {"1": True, "0": False}.get(reply.text.strip()) if reply.is_success else None


def _clickhouse_origin(settings: ClickHouseSettings) -> str:
    connection = settings.clickhouse_connection()
    return f"{'https' if connection['secure'] else 'http'}://{connection['host']}:{connection['port']}"


def _clickhouse_reply(settings: ClickHouseSettings, statement: str) -> httpx.Response:
    """Run one statement as the own user."""
    connection, origin = settings.clickhouse_connection(), _clickhouse_origin(settings)
    headers: list[tuple[bytes, bytes]] = []
    # Basic auth, like the services' own client: it holds whatever characters the password has.
    auth: tuple[str, str] | None = (connection["username"], connection["password"])
    if settings.clickhouse_tls.certfile and not connection["password"]:
        headers = [
            (b"X-ClickHouse-User", connection["username"].encode()),
            (b"X-ClickHouse-SSL-Certificate-Auth", b"on"),
        ]
        auth = None
    return httpx.post(
        f"{origin}/",
        content=statement,
        headers=headers,
        auth=auth,
        timeout=ANSWER_SECONDS,
        trust_env=False,
        verify=verifying(origin, settings.clickhouse_tls),
    )


def ask_registry(settings: RegistrySettings) -> Problem | None:
    """Whether a Confluent-compatible registry answers at the address."""
    address = settings.schema_registry_address
    shown = _without_password(address)
    try:
        reply = httpx.get(
            f"{address}/subjects",
            timeout=ANSWER_SECONDS,
            trust_env=False,
            verify=verifying(address, TlsFiles(settings.schema_registry_ssl_cafile)),
        )
    except httpx.HTTPError as error:
        return Problem(
            f"the schema registry does not answer at {shown} ({_reason(error)}); check TIDEMARK_SCHEMA_REGISTRY_URL",
            is_refusal=False,
        )
    if reply.status_code in (401, 403):
        return Problem(
            f"the schema registry at {shown} refuses the user ({reply.status_code}); put user:password into "
            "TIDEMARK_SCHEMA_REGISTRY_URL",
            is_refusal=True,
        )
    if reply.status_code >= 500:
        return Problem(f"the schema registry at {shown} answers {reply.status_code}; look at its log", is_refusal=False)
    try:
        is_list = reply.is_success and isinstance(reply.json(), list)
    except ValueError:
        is_list = False
    if not is_list:
        return Problem(
            f"{shown} is no Confluent-compatible registry (its /subjects answers {reply.status_code}); set "
            "TIDEMARK_SCHEMA_REGISTRY_URL to the address with its path, such as http://registry:8080/apis/ccompat/v7",
            is_refusal=True,
        )
    return None


def ask_clickhouse(settings: ClickHouseSettings) -> Problem | None:
    """Whether ClickHouse answers, and accepts the user and its password."""
    connection = settings.clickhouse_connection()
    origin = _clickhouse_origin(settings)
    try:
        reply = _clickhouse_reply(settings, "SELECT 1")
    except httpx.HTTPError as error:
        return Problem(
            f"ClickHouse does not answer at {origin} ({_reason(error)}); check TIDEMARK_CLICKHOUSE_URL",
            is_refusal=False,
        )
    code = reply.headers.get("X-ClickHouse-Exception-Code", "")
    if reply.status_code in (401, 403) or code in _REFUSED_CODES:
        return Problem(
            f"ClickHouse at {origin} refuses the user {connection['username']} or its password; "
            "check TIDEMARK_CLICKHOUSE_URL",
            is_refusal=True,
        )
    if reply.is_success and reply.text.strip() == "1":
        return None
    if reply.is_success or not code:
        return Problem(
            f"{origin} is no ClickHouse HTTP interface (it answers {reply.status_code}); "
            "check TIDEMARK_CLICKHOUSE_URL, whose port is usually 8123, or 8443 with https",
            is_refusal=True,
        )
    return Problem(f"ClickHouse at {origin} answers with its error {code}; look at its log", is_refusal=False)


def _reason(error: httpx.HTTPError) -> str:
    """Why there is no answer; never what was sent, which such errors repeat."""
    if isinstance(error, httpx.LocalProtocolError):
        return type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    return str(error) or type(error).__name__


def _without_password(address: str) -> str:
    url = httpx.URL(address)
    return str(url.copy_with(username=None, password=None)) if url.userinfo else address
