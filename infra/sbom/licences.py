"""Licences as packages state them, as SPDX ids or expressions where they are known by these. Pure.

In: what a package's metadata says, which is an id, an expression, a title or an address. Out: the same as SPDX, or as
it was stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseAcknowledgement, LicenseExpression
from cyclonedx.spdx import fixup_id, is_expression

# Parts of titles and addresses, in lower case; the first that occurs counts.
_SPDX = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"classpath|gpl-2\.0-cp|secondary-gpl-2\.0-cp|gpl2 w/ cpe", "GPL-2.0-only WITH Classpath-exception-2.0"),
        (r"lgpl|lesser general", ""),
        (r"(apache|\basl|\bal\b).*2|apache software license$", "Apache-2.0"),
        (r"\bmit-0\b", "MIT-0"),
        (r"\bmit\b", "MIT"),
        (r"(new|modified|revised|3.clause) bsd|bsd.*\b3\b|edl|eclipse distribution", "BSD-3-Clause"),
        (r"(simplified|2.clause) bsd|bsd.*\b2\b", "BSD-2-Clause"),
        (r"(eclipse public|epl).*2", "EPL-2.0"),
        (r"(eclipse public|epl).*1", "EPL-1.0"),
        (r"(mozilla public|mpl).*2", "MPL-2.0"),
        (r"cc0|creative commons cc0", "CC0-1.0"),
        (r"python software foundation", "PSF-2.0"),
        (r"\bisc\b", "ISC"),
        (r"unlicense", "Unlicense"),
    )
)
# A title that names a family of licences and no member of it says nothing where something else says more.
_VAGUE = {"apache software license", "bsd license", "osi approved", "public domain"}


def spdx(stated: str) -> str:
    """The SPDX id or expression of a licence; what was stated where none is known."""
    text = " ".join(stated.split()).strip("\"'")
    if known := fixup_id(text):
        return known
    if re.search(r" (AND|OR|WITH) ", text) and is_expression(text):
        return text
    for pattern, name in _SPDX:
        if pattern.search(text.lower()):
            return name or text
    return text


def licences(stated: Iterable[str]) -> list[License]:
    """What a bill lists: one expression, or each licence that was stated.

    Args:
        stated: as the package's metadata has it; more than one means a choice, or parts under several.
    """
    texts = [one for one in stated if one.strip()]
    exact = [one for one in texts if one.strip().lower() not in _VAGUE] or texts
    said = list(dict.fromkeys(spdx(one) for one in exact))
    declared = LicenseAcknowledgement.DECLARED
    made = [LicenseFactory().make_from_string(one, license_acknowledgement=declared) for one in said]
    if len(made) > 1 and any(isinstance(one, LicenseExpression) for one in made):
        # A list of licences has no expressions in it.
        return [DisjunctiveLicense(name=one, acknowledgement=declared) for one in said]
    return made
