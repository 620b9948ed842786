"""Registers schemas under the ids that they had in a registry that was lost: every message of a topic names its id.

Confluent's registries take ids in the mode IMPORT of a subject. Apicurio's Confluent-compatible API takes the mode and
passes over the id, so it is given an archive in its own form. Whichever it is, the ids are read back and compared.
"""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import orjson

from services.runtime.registry import Registered
from services.runtime.settings import RegistrySettings
from services.runtime.tls import TlsFiles, verifying
from services.runtime.wording import counted

_SECONDS = 30.0
_JSON = {"content-type": "application/vnd.schemaregistry.v1+json"}
# The path of Apicurio's Confluent-compatible API, in place of which its own stands.
_COMPATIBLE = "/apis/ccompat/v"
_NATIVE = "/apis/registry/v3"
_NOT_FOUND = 404
Versions = Mapping[str, Sequence[Registered]]


class IdsRefused(RuntimeError):
    """The ids can't be restored; the message says why and what to do."""


def restore_ids(registry: RegistrySettings, subjects: Versions, show: Callable[[str], None]) -> None:
    """Register every version of every subject under its id; what is there already, under its id, is left as it is.

    Args:
        subjects: by the subject's full name, its versions in ascending order.
        show: is told the progress, as lines.

    Raises:
        IdsRefused: a subject is there with other ids, or the registry does not answer, or takes no ids.
    """
    address = registry.schema_registry_address
    verify = verifying(address, TlsFiles(registry.schema_registry_ssl_cafile))
    with httpx.Client(base_url=address, timeout=_SECONDS, trust_env=False, verify=verify) as client:
        try:
            lacking = {name: versions for name, versions in subjects.items() if _is_lacking(client, name, versions)}
            show(f"{counted(len(lacking), 'subject')} of {len(subjects)} to register")
            if not lacking:
                return
            if _COMPATIBLE in address:
                origin = address.partition(_COMPATIBLE)[0]
                _import_archive(client, f"{origin}{_NATIVE}/admin/import", lacking)
            else:
                for name, versions in lacking.items():
                    _import_subject(client, name, versions)
            for name, versions in lacking.items():
                if _is_lacking(client, name, versions):
                    raise IdsRefused(f"the registry did not take the ids of {name}; restore its own backup instead")
        except httpx.HTTPError as error:
            raise IdsRefused(f"the schema registry can't be reached ({error})") from None


def _is_lacking(client: httpx.Client, subject: str, versions: Sequence[Registered]) -> bool:
    """Whether the registry has nothing of a subject.

    Raises:
        IdsRefused: it has the subject, with other ids or schemas.
    """
    found = client.get(f"/subjects/{subject}/versions")
    if found.status_code == _NOT_FOUND:
        return True
    numbers = _checked(found)
    held = {}
    for number in numbers:
        one = _checked(client.get(f"/subjects/{subject}/versions/{number}"))
        held[int(one["version"])] = (int(one["id"]), orjson.loads(one["schema"]))
    for wanted in versions:
        if held.get(wanted.version) != (wanted.id, orjson.loads(wanted.text)):
            raise IdsRefused(
                f"{subject} is registered anew, with other ids than in the backup; empty the registry, start nothing "
                "that registers schemas (`tidemark topics`, which `tidemark up` runs), and restore"
            )
    return False


def _import_subject(client: httpx.Client, subject: str, versions: Sequence[Registered]) -> None:
    """By Confluent's mode IMPORT, which a subject may have while it is empty."""
    _checked(client.put(f"/mode/{subject}", content=orjson.dumps({"mode": "IMPORT"}), headers=_JSON))
    try:
        for one in versions:
            body = {"schema": one.text, "schemaType": "AVRO", "version": one.version, "id": one.id}
            _checked(client.post(f"/subjects/{subject}/versions", content=orjson.dumps(body), headers=_JSON))
    finally:
        _checked(client.put(f"/mode/{subject}", content=orjson.dumps({"mode": "READWRITE"}), headers=_JSON))


def _import_archive(client: httpx.Client, url: str, subjects: Versions) -> None:
    """By Apicurio's import, which keeps ids; it also sets the id that the next new schema gets."""
    reply = client.post(
        url,
        params={"requireEmptyRegistry": "false"},
        content=_archive(subjects),
        headers={
            "content-type": "application/zip",
            "X-Registry-Preserve-GlobalId": "true",
            "X-Registry-Preserve-ContentId": "true",
        },
    )
    if reply.is_error:
        raise IdsRefused(f"the registry refused the schemas: {reply.status_code} {reply.text[:200]}")


def _archive(subjects: Versions) -> bytes:
    now = time.time_ns() // 1_000_000
    made = {"owner": "", "createdOn": now, "modifiedBy": "", "modifiedOn": now, "groupId": None}
    entries: dict[str, bytes] = {
        "manifest-restored.Manifest.json": orjson.dumps(
            {"systemVersion": "3", "systemName": "", "exportVersion": "3.0", "exportedOn": now, "exportedBy": ""}
        )
    }
    for subject, versions in subjects.items():
        folder = f"groups/default/artifacts/{subject}"
        artifact = {**made, "artifactId": subject, "artifactType": "AVRO"}
        entries[f"{folder}/MetaData.Artifact.json"] = orjson.dumps(artifact)
        for one in versions:
            data = one.text.encode()
            digest = hashlib.sha256(data).hexdigest()
            content = {"contentId": one.id, "contentHash": digest, "artifactType": "AVRO",
                       "contentType": "application/json"}  # fmt: skip
            entries[f"content/{digest}.Content.json"] = orjson.dumps(content)
            entries[f"content/{digest}.Content.data"] = data
            version = {
                **made, "globalId": one.id, "artifactId": subject, "version": str(one.version),
                "versionOrder": one.version, "state": "ENABLED", "contentId": one.id,
            }  # fmt: skip
            entries[f"{folder}/versions/{one.version}.ArtifactVersion.json"] = orjson.dumps(version)
        branch = {**made, "artifactId": subject, "branchId": "latest", "systemDefined": True,
                  "versions": [str(one.version) for one in versions]}  # fmt: skip
        entries[f"{folder}/branches/latest.Branch.json"] = orjson.dumps(branch)
    # Apicurio reads the archive in its order: contents before the versions that name them.
    order = ("Manifest.json", "Content.json", "Content.data", "Artifact.json", "ArtifactVersion.json", "Branch.json")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for ending in order:
            for name, entry in entries.items():
                if name.endswith(f".{ending}"):
                    archive.writestr(name, entry)
    return out.getvalue()


def _checked(reply: httpx.Response) -> Any:
    if reply.is_error:
        raise IdsRefused(f"the registry refused {reply.request.url.path}: {reply.status_code} {reply.text[:200]}")
    return reply.json()
