"""What an OpenSSH certificate proves, and what it doesn't."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType

from edge.transport import certificate
from edge.transport.certificate import Certificate
from edge.transport.known_hosts import HostKey

NOW_S = 1_800_000_000


def made(change: Callable[[SSHCertificateBuilder], SSHCertificateBuilder] | None = None) -> HostKey:
    """A certificate of a host called rpi4, valid for an hour."""
    builder = (
        SSHCertificateBuilder()
        .public_key(ed25519.Ed25519PrivateKey.generate().public_key())
        .serial(7)
        .type(SSHCertificateType.HOST)
        .key_id(b"a test")
        .valid_principals([b"rpi4", b"*.lab"])
        .valid_after(NOW_S)
        .valid_before(NOW_S + 3600)
    )
    signed = (change(builder) if change else builder).sign(ed25519.Ed25519PrivateKey.generate())
    kind, blob = signed.public_bytes().split()[:2]
    return HostKey(kind.decode(), base64.b64decode(blob))


def parsed(key: HostKey) -> Certificate:
    found = certificate.parse(key)
    assert found is not None
    return found


def test_what_it_says() -> None:
    found = parsed(made())
    assert found.signed and found.for_host
    assert found.key.kind == found.authority.kind == "ssh-ed25519"
    assert found.principals == ("rpi4", "*.lab")
    for name in ("rpi4", "RPI4", "kitchen.lab"):
        assert found.flaw_of_host(name, NOW_S) == ""
    for name in ("rpi40", "rpi", "lab", "*"):
        assert found.flaw_of_host(name, NOW_S) == f"it is for rpi4, *.lab, not for {name}"


def test_it_holds_from_its_first_second_to_its_last() -> None:
    found = parsed(made())
    assert "not valid before" in found.flaw_of_host("rpi4", NOW_S - 1)
    assert found.flaw_of_host("rpi4", NOW_S + 3599) == ""
    assert "expired on 2027-01-15 09:00 UTC" in found.flaw_of_host("rpi4", NOW_S + 3600)


def test_whatever_is_changed_breaks_the_signature_or_the_whole() -> None:
    key = made()
    for at in range(len(key.blob)):
        forged = bytearray(key.blob)
        forged[at] ^= 0x01
        found = certificate.parse(HostKey(key.kind, bytes(forged)))
        assert found is None or found.flaw_of_host("rpi4", NOW_S) != "", at


def test_an_option_that_is_unknown_here_is_not_passed_over() -> None:
    found = parsed(made(lambda builder: builder.add_critical_option(b"only-on-sundays", b"")))
    assert found.flaw_of_host("rpi4", NOW_S) == "it demands what is not known here: only-on-sundays"
    # A server decides about a user's.
    assert found.critical_options == ("only-on-sundays",)


@pytest.mark.parametrize("length", [0, 1, 4, 40, 100, 300])
def test_a_part_of_one_is_none(length: int) -> None:
    key = made()
    assert certificate.parse(HostKey(key.kind, key.blob[:length])) is None
    assert certificate.parse(HostKey("ssh-ed25519", key.blob)) is None
