"""Cooling: before each process, wait for the temperature that the first one began at.

A board that is still warm from one arm would slow the next one down. How long it takes to cool is
the board's affair, so the temperature is asked for, not the time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from edge.session import Session

NEAR_C = 2.0
"""Above the mark, and still as cool."""
LONGEST_S = 120.0
_POLL_S = 1.0

# A sensor that can't be read now prints nothing; the shell is there to spread the names.
_READ = "cat /sys/class/thermal/thermal_zone*/temp 2>/dev/null; :"
_MILLIDEGREES = re.compile(rb"-?[0-9]{1,6}")
_PLAUSIBLE_C = (-55.0, 200.0)


def hottest_c(session: Session) -> float | None:
    """The hottest thermal zone; None: the board has none, or their files are another machine's."""
    if session.board.emulation == "user":
        return None
    lines = session.transport.run(["sh", "-c", _READ]).stdout.split(b"\n")
    found = [int(line) / 1000 for line in lines if _MILLIDEGREES.fullmatch(line.strip())]
    low, high = _PLAUSIBLE_C
    return max((celsius for celsius in found if low < celsius < high), default=None)


class Cooling:
    """The mark, and waiting for it."""

    def __init__(
        self,
        session: Session,
        progress: Callable[[str], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the mark.

        :raises BoardError: the link is lost.
        """
        self._session, self._progress = session, progress
        self._sleep, self._clock_s = sleep, clock_s
        self.mark_c = hottest_c(session)
        if self.mark_c is None:
            progress("the board shows no temperature: there is no waiting for it to cool")

    def wait(self) -> None:
        """Until the board is as cool as at the mark, or 120 s have passed.

        If they have, it will not become cooler than it is: this is the mark from then on.
        """
        if self.mark_c is None:
            return
        began_s, told = self._clock_s(), False
        while (now_c := hottest_c(self._session)) is not None and now_c > self.mark_c + NEAR_C:
            if self._clock_s() - began_s >= LONGEST_S:
                self._progress(
                    f"after {LONGEST_S:.0f} s the board is at {now_c:.0f} °C, not at "
                    f"{self.mark_c:.0f} °C as at the beginning: going on from there"
                )
                self.mark_c = now_c
                return
            if not told:
                self._progress(
                    f"cooling: {now_c:.0f} °C, waiting for {self.mark_c + NEAR_C:.0f} °C"
                )
                told = True
            self._sleep(_POLL_S)
