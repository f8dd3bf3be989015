"""OpenSSH servers of our own on loopback, for the user who runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge import debian
from edge.errors import HostError
from edge.transport.ssh import SshTarget

BANNER = "### authorised persons only ###"


@dataclass
class Sshd:
    """An OpenSSH server of our own, for the user who runs the tests."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    target: SshTarget

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def host_key(self, kind: str = "ed25519") -> str:
        """Type and base64 of a host key."""
        kind_and_key = (self.folder / f"host_{kind}.pub").read_text().split()[:2]
        return " ".join(kind_and_key)

    def sessions(self) -> list[int]:
        """The processes that serve one connection each."""
        return children(self.process.pid)

    def drop_connections(self) -> None:
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.drop_connections()
        self.process.terminate()
        self.process.wait(10)


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def require(reason: str) -> None:
    """Without a server these tests say nothing: in CI that is a failure."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason)
    pytest.skip(reason)


def _sshd_program() -> tuple[str, dict[str, str]]:
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found:
        return found, {}
    try:
        root = debian.unpack_host_packages(["openssh-server"], print)
    except HostError as error:
        require(f"no sshd: {error}")
    libraries = sorted({str(so.parent) for so in (root / "usr/lib").glob("*/*.so*")})
    return str(root / "usr/sbin/sshd"), {"LD_LIBRARY_PATH": ":".join(libraries)}


def _newer_settings(program: str, env: dict[str, str]) -> list[str]:
    """What servers since 9.8 must be told, and older ones refuse to read."""
    shown = subprocess.run(
        [program, "-V"], env={**os.environ, **env}, capture_output=True, text=True
    )
    match = re.search(r"OpenSSH_(\d+)\.(\d+)", shown.stderr + shown.stdout)
    if not match or (int(match[1]), int(match[2])) < (9, 8):
        return []
    # Else a test that is refused shuts the door for the next one.
    settings = ["PerSourcePenalties no"]
    # An unpacked server's parts are not where it was built to find them.
    helpers = Path(program).parents[1] / "lib/openssh"
    for keyword, name in (("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")):
        if env and (helpers / name).exists():
            settings.append(f"{keyword} {helpers / name}")
    return settings


def _privileges(folder: Path) -> list[str]:
    """What goes before sshd: root's sshd insists on a folder and on a user of its own."""
    if os.getuid():
        return []
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with contextlib.suppress(KeyError):
        pwd.getpwnam("sshd")
        return []
    users = folder / "passwd"
    users.write_text(
        Path("/etc/passwd").read_text() + "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    )
    # Seen by this server alone; the machine keeps its users.
    mount = f"mount --bind '{users}' /etc/passwd && exec \"$@\""
    argv = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if subprocess.run([*argv, "true"], capture_output=True).returncode:
        require("no sshd: root needs a user 'sshd' here, or the right to unshare mounts")
    return argv


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)],
        check=True,
    )
    return path


def start_sshd(folder: Path, *extra: str) -> Sshd:
    program, env = _sshd_program()
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("ed25519", "ecdsa", "rsa"):
        if not (folder / f"host_{kind}").exists():
            keygen(folder / f"host_{kind}", kind)
    user_key = folder / "user_key"
    if not user_key.exists():
        keygen(user_key)
    shutil.copy(user_key.with_name("user_key.pub"), folder / "authorized_keys")
    (folder / "banner").write_text(BANNER + "\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        "\n".join(
            [
                *extra,  # the first value of a keyword wins
                *_newer_settings(program, env),
                "ListenAddress 127.0.0.1",
                f"Port {port}",
                *(f"HostKey {folder}/host_{kind}" for kind in ("ed25519", "ecdsa", "rsa")),
                f"AuthorizedKeysFile {folder}/authorized_keys",
                f"Banner {folder}/banner",
                "PermitRootLogin yes",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "UsePAM no",
                "StrictModes no",
                "MaxStartups 100",
                "PidFile none",
            ]
        )
        + "\n"
    )
    process = subprocess.Popen(
        [*_privileges(folder), program, "-D", "-e", "-f", str(folder / "sshd_config")],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stderr=(folder / "log").open("wb"),
    )
    target = SshTarget(
        "127.0.0.1",
        getpass.getuser(),
        port=port,
        identity_files=(user_key,),
        known_hosts=(folder / "known_hosts",),
    )
    server = Sshd(folder, port, process, target)
    lines = [f"[127.0.0.1]:{port} {server.host_key(kind)}\n" for kind in ("ed25519", "ecdsa")]
    server.known_hosts.write_text("".join(lines))
    deadline = time.monotonic() + 15
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return server
        if process.poll() is not None or time.monotonic() > deadline:
            server.stop()
            pytest.fail(f"sshd did not start: {(folder / 'log').read_text()}")
        time.sleep(0.05)
