"""Whether a server is the one it should be: its key against the user's known_hosts, as ``ssh``."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Collection, Sequence

from edge.errors import UnreachableError
from edge.transport import certificate, known_hosts
from edge.transport.certificate import Certificate
from edge.transport.known_hosts import HostKey
from edge.transport.target import SshTarget


def check(target: SshTarget, key: HostKey, certified: Certificate | None = None) -> None:
    """Compare the key that a server proved to have with the user's known_hosts files.

    :param certified: the certificate that the key came in.
    :raises UnreachableError: it is unknown, revoked, or not the one that was recorded.
    """
    known = known_hosts.load(target.known_hosts)
    shown = f"{key.kind} {key.fingerprint}"
    hints: list[str] = []
    other_kinds: set[str] = set()
    _refuse_revoked(target, known, key, certified)
    for name in target.host_key_names:
        entries = known.of(name)
        authorities = [e for e in entries if e.marker == "@cert-authority"]
        if authorities:
            flaw = _flaw(target, certified, [entry.key for entry in authorities])
            if not flaw:
                return
            hints = hints or [flaw]
        plain = [entry for entry in entries if not entry.marker]
        if any(entry.key == key for entry in plain):
            return
        changed = [entry for entry in plain if entry.key.kind == key.kind]
        # As ssh does: a line for the bare address may vouch for another port, but not accuse it.
        if changed and name == target.host_key_names[0]:
            old = changed[0]
            raise UnreachableError(
                f"THE HOST KEY OF {target.label} HAS CHANGED: it shows {shown}, but {old.file}:"
                f"{old.line} has {old.key.fingerprint}; somebody may be listening in, or the board "
                f"was installed anew: if you know that it was, forget the old key with "
                f"'ssh-keygen -f {shlex.quote(str(old.file))} -R {shlex.quote(name)}'"
            )
        other_kinds |= {entry.key.kind for entry in plain}
    if target.accept_unknown_host and target.known_hosts:
        name = target.host_key_names[0]
        with contextlib.suppress(OSError):  # ssh too goes on when it can't record
            known_hosts.record(target.known_hosts[0], name, key, hash_name=target.hash_known_hosts)
        return
    if other_kinds:
        hints.append(f"known_hosts has only {', '.join(sorted(other_kinds))} for it")
    hint = f" ({'; '.join(hints)})" if hints else ""
    raise UnreachableError(
        f"the host key of {target.label} ({target.address}) is not known: {shown}{hint}; "
        f"check it and record it by running '{_first_login(target)}' once"
    )


def preferred_kinds(target: SshTarget, offered: Sequence[str]) -> list[str]:
    """``offered`` with the types that known_hosts has for this host in front, as ``ssh`` orders.

    Else a server with several keys may show one that was never recorded. Certificates are asked for
    only where known_hosts names an authority that may sign them.
    """
    known = known_hosts.load(target.known_hosts)
    entries = [entry for name in target.host_key_names for entry in known.of(name)]
    plain = [kind for kind in offered if not kind.endswith(certificate.SUFFIX)]
    ordered = first_of(plain, {entry.key.kind for entry in entries if not entry.marker})
    if any(entry.marker == "@cert-authority" for entry in entries):
        return [*(kind + certificate.SUFFIX for kind in ordered), *ordered]
    return ordered


def first_of(offered: Sequence[str], kinds: Collection[str]) -> list[str]:
    """``offered``, those of ``kinds`` in front."""
    wanted = set(kinds)
    if "ssh-rsa" in wanted:
        wanted |= {"rsa-sha2-512", "rsa-sha2-256"}  # the same key, signed with a better hash
    return sorted(offered, key=lambda kind: kind not in wanted)


def _refuse_revoked(
    target: SshTarget, known: known_hosts.KnownHosts, key: HostKey, certified: Certificate | None
) -> None:
    revoked = {
        entry.key
        for name in target.host_key_names
        for entry in known.of(name)
        if entry.marker == "@revoked"
    }
    whose = [("the host key", key)]
    if certified is not None:
        whose.append(("the authority that certified the host key", certified.authority))
    for what, found in whose:
        if found in revoked:
            raise UnreachableError(
                f"{what} of {target.label} ({found.kind} {found.fingerprint}) is marked @revoked "
                "in your known_hosts: this is not a machine to talk to"
            )


def _flaw(
    target: SshTarget, certified: Certificate | None, authorities: Collection[HostKey]
) -> str:
    """Why no @cert-authority line of known_hosts vouches for this host."""
    if certified is None:
        return "it shows no certificate of the @cert-authority in your known_hosts"
    if certified.authority not in authorities:
        return (
            f"its certificate is signed by {certified.authority.kind} "
            f"{certified.authority.fingerprint}, which is no @cert-authority for it in your "
            "known_hosts"
        )
    # A port is no part of a principal.
    flaw = certified.flaw_of_host(target.host_key_alias or target.hostname, time.time())
    return flaw and f"its certificate proves nothing: {flaw}"


def _first_login(target: SshTarget) -> str:
    argv = ["ssh"]
    if target.config:
        argv += ["-F", str(target.config)]
    if not target.alias:
        argv += ["-p", str(target.port)] if target.port != 22 else []
        return shlex.join([*argv, f"{target.user}@{target.hostname}"])
    return shlex.join([*argv, target.alias])
