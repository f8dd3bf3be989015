"""What a run recorded: the board's records as numpy arrays, mapped, not copied."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge import abi
from edge.errors import UsageError

Values = npt.NDArray[np.float64]

_WAKING_NS = 100_000
_LONGEST_NS = 1 << 60
"""36 years: what is more was less than nothing."""


@dataclass(frozen=True)
class Samples:
    """A recording.

    :ivar records: shape ``[n]``, the header's ``edge_sample`` layout; read-only, backed by the
        mapped file. ``elapsed_ns`` spans ``iterations`` invocations.
    :ivar remainder_bytes: bytes of a cut record at the file's end.
    :ivar tick_ns: smallest step that the board's clock was seen to make.
    :ivar clock_cost_ns: median cost of one reading of that clock.
    :ivar loop_cost_ns: median time of a sample around an empty function; not subtracted anywhere.
    """

    records: npt.NDArray[np.void]
    remainder_bytes: int
    tick_ns: int
    clock_cost_ns: int
    loop_cost_ns: int

    def __len__(self) -> int:
        return len(self.records)

    @functools.cached_property
    def latency_ns(self) -> Values:
        """Shape ``[n]``: nanoseconds per invocation, a sample's mean where it spans several.

        From when it was due: in an open loop, with the time that it waited for those before it.
        """
        latency = self.service_ns
        late = self.records["start_ns"] - self.records["due_ns"]
        if late.any():
            latency += late
        latency.flags.writeable = False
        return latency

    @property
    def service_ns(self) -> Values:
        """Shape ``[n]``: nanoseconds per invocation, from its start."""
        service: Values = self.records["elapsed_ns"].astype(np.float64)
        iterations = self.records["iterations"]
        if (iterations != 1).any():
            service /= iterations
        return service

    @property
    def late(self) -> float:
        """Share of samples that waited for longer than one takes to wake up; there is a sample."""
        return float(np.mean(self.queued_ns > _WAKING_NS))

    @property
    def queued_ns(self) -> Values:
        """Shape ``[n]``: from when a sample was due to its start; 0 in a closed loop."""
        late = self.records["start_ns"] - self.records["due_ns"]
        queued: Values = late.astype(np.float64)
        return queued


def load(library: abi.Library, path: Path) -> Samples:
    """Map ``samples.bin``.

    :raises UsageError: the file is missing, no recording of this ABI, or has times that no clock
        gives.
    """
    f = abi.ffi()
    recording: Any = f.new("edge_recording *")
    library.check(library.lib.edge_recording_map(str(path).encode(), recording))
    # The array's buffer keeps this pointer alive, and the pointer's end unmaps the file.
    pointer = f.gc(recording.samples, lambda _: library.lib.edge_recording_unmap(recording))
    header = recording.header
    dtype = abi.sample_dtype()
    if header.sample_bytes != dtype.itemsize:
        raise UsageError(
            f"{path} has records of {header.sample_bytes} bytes, this edge reads "
            f"{dtype.itemsize}: measure again with this version"
        )
    view = memoryview(f.buffer(pointer, recording.count * dtype.itemsize))
    records = np.frombuffer(view, dtype=dtype)
    _insist(path, records)
    records.flags.writeable = False
    return Samples(
        records,
        int(recording.remainder_bytes),
        int(header.tick_ns),
        int(header.clock_cost_ns),
        int(header.loop_cost_ns),
    )


def _insist(path: Path, records: npt.NDArray[np.void]) -> None:
    """:raises UsageError: from here on nothing could be made of these that is true."""
    start, elapsed = records["start_ns"], records["elapsed_ns"]
    for what, wrong in (
        ("the clock went back", start[1:] < start[:-1]),
        ("the clock went back while it ran", elapsed > _LONGEST_NS),
        ("it started before it was due", start < records["due_ns"]),
        ("it has no invocations", records["iterations"] == 0),
    ):
        if wrong.any():
            raise UsageError(
                f"{path} is damaged, or its board's clock is: {what} at sample "
                f"{int(np.argmax(wrong)) + (what == 'the clock went back')}; nothing is made of "
                "it: measure again"
            )
