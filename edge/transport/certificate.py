"""OpenSSH certificates: what one says, whose signature it bears, and what is wrong with it."""

from __future__ import annotations

import base64
import datetime
import fnmatch
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    SSHCertPublicKeyTypes,
    load_ssh_public_identity,
)

from edge.transport.known_hosts import HostKey

SUFFIX = "-cert-v01@openssh.com"
"""What the name of a certified key's type ends in."""


@dataclass(frozen=True)
class Certificate:
    """A key, and what an authority says about it."""

    spelled: HostKey
    """The whole certificate, as it travels."""
    key: HostKey
    authority: HostKey
    signed: bool
    """The authority's signature holds, and is not made with SHA-1."""
    for_host: bool
    principals: tuple[str, ...]
    """Hosts or users; none: all."""
    valid_from_s: int
    valid_until_s: int
    critical_options: tuple[str, ...]

    def flaw(self, now_s: float) -> str:
        """What makes it worthless at any host; empty if nothing does."""
        if not self.signed:
            return "its signature is not its authority's"
        if now_s < self.valid_from_s:
            return f"it is not valid before {_date(self.valid_from_s)}"
        if now_s >= self.valid_until_s:
            return f"it expired on {_date(self.valid_until_s)}"
        return ""

    def flaw_of_host(self, name: str, now_s: float) -> str:
        """What keeps it from proving that a host is ``name``; empty if it does.

        Who signed it is another question.
        """
        if not self.for_host:
            return "it is a certificate for users, not for hosts"
        if self.critical_options:
            return f"it demands what is not known here: {', '.join(self.critical_options)}"
        if self.principals and not any(
            # Only * and ? are special to OpenSSH.
            fnmatch.fnmatchcase(name.lower(), pattern.replace("[", "[[]"))
            for pattern in self.principals
        ):
            return f"it is for {', '.join(self.principals)}, not for {name}"
        return self.flaw(now_s)

    def flaw_of_user(self, now_s: float) -> str:
        """Why a server is likely to refuse it; empty if we see no reason."""
        if self.for_host:
            return "it is a certificate for hosts, not for users"
        return self.flaw(now_s)


def parse(key: HostKey) -> Certificate | None:
    """None if this is no certificate, or none that we understand."""
    if not key.kind.endswith(SUFFIX):
        return None
    try:
        found = load_ssh_public_identity(key.spelled.encode())
        # Its own parser's ways to say no are not all documented.
    except (ValueError, TypeError, UnsupportedAlgorithm, AssertionError):
        return None
    if not isinstance(found, SSHCertificate):
        return None
    try:
        return Certificate(
            spelled=key,
            key=_plain(found.public_key()),
            authority=_plain(found.signature_key()),
            signed=_holds(found),
            for_host=found.type is SSHCertificateType.HOST,
            principals=tuple(name.decode("utf-8", "replace") for name in found.valid_principals),
            valid_from_s=found.valid_after,
            valid_until_s=found.valid_before,
            critical_options=tuple(
                name.decode("utf-8", "replace") for name in found.critical_options
            ),
        )
    except (ValueError, UnsupportedAlgorithm):
        return None


def read(path: Path) -> Certificate | None:
    """The certificate in a ``-cert.pub`` file; None if there is none."""
    try:
        kind, blob = path.read_text("utf-8", "replace").split()[:2]
        return parse(HostKey(kind, base64.b64decode(blob)))
    except (OSError, ValueError):
        return None


def _plain(key: SSHCertPublicKeyTypes) -> HostKey:
    kind, blob = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[:2]
    return HostKey(kind.decode(), base64.b64decode(blob))


def _holds(found: SSHCertificate) -> bool:
    # OpenSSH takes no SHA-1 from an authority either. Not public: should it be renamed one day,
    # certificates of RSA authorities are refused.
    weak = getattr(found, "_inner_sig_type", b"ssh-rsa") == b"ssh-rsa"
    if weak and isinstance(found.signature_key(), rsa.RSAPublicKey):
        return False
    try:
        found.verify_cert_signature()
    except (InvalidSignature, ValueError, AssertionError):
        return False
    return True


def _date(time_s: int) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(time_s, datetime.timezone.utc)
    except (ValueError, OverflowError, OSError):
        return f"second {time_s}"
    return f"{moment:%Y-%m-%d %H:%M} UTC"
