"""Keeps one QEMU process, and ends it together with the process that wanted it.

Run as a program of its own, with nothing but the standard library, because it must start in a
moment: ``python -I keeper.py PROGRAM [ARGUMENT...]``. Standard input is the lifeline: when it ends,
whoever held the other end is gone, however it went, and QEMU is killed. ``keep`` on it means that
QEMU shall go on without them. Should the keeper itself be killed, the kernel ends QEMU. Standard
output has QEMU's process number in a line.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

KEEP = b"keep\n"

_IF_KEPT = 'test "$PPID" = "$0" && exec "$@"'
"""The kernel tells of a keeper's end from now on only: it must not have ended before."""


def main(argv: list[str]) -> int:
    """The exit code of the program; 128 and the signal's number if one ended it."""
    # All descriptors that we were given are meant for it; standard input is not.
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "sh", "-c", _IF_KEPT, str(os.getpid()), *argv],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        close_fds=False,
    )
    signal.signal(signal.SIGTERM, lambda *_: process.kill())
    try:
        with contextlib.suppress(BrokenPipeError):  # the lifeline has ended, too
            os.write(1, b"%d\n" % process.pid)
        _watch(process)
    finally:
        if process.poll() is None:
            process.kill()
    code = process.wait()
    return 128 - code if code < 0 else code


def _watch(process: subprocess.Popen[bytes]) -> None:
    """Until the program ends, or the lifeline does."""
    ended = os.pidfd_open(process.pid)
    said = b""
    while KEEP not in said:
        if ended in select.select([0, ended], [], [])[0]:
            return
        chunk = os.read(0, 64)
        if not chunk:
            return
        said += chunk
    select.select([ended], [], [])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
