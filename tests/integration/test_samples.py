"""What was recorded, back through the shim: the library records, cffi and numpy read."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from edge import abi, samples
from edge.abi import Library
from edge.errors import HostError, UsageError


@pytest.fixture
def recording(library: Library, tmp_path: Path) -> Path:
    """Ten samples of a function that does nothing."""
    f = abi.ffi()
    path = tmp_path / "samples.bin"
    recorder = f.new("edge_recorder **")
    library.check(library.lib.edge_recorder_open(str(path).encode(), 16, recorder))
    plan = f.new("edge_plan *", {"samples": 10, "iterations": 3})
    nothing = f.callback("int32_t(void *)", lambda _: 0)
    library.check(library.lib.edge_measure(recorder[0], plan, nothing, f.NULL))
    library.check(library.lib.edge_recorder_close(recorder[0]))
    return path


def test_records_come_back_as_they_were_written(library: Library, recording: Path) -> None:
    found = samples.load(library, recording)
    assert len(found) == 10
    assert set(found.records["iterations"]) == {3}
    assert (found.records["start_ns"][1:] > found.records["start_ns"][:-1]).all()
    assert (found.latency_ns == found.records["elapsed_ns"] / 3).all()
    assert found.tick_ns > 0
    assert found.remainder_bytes == 0


def test_the_array_is_the_mapped_file_and_not_a_copy(library: Library, recording: Path) -> None:
    found = samples.load(library, recording)
    assert not found.records.flags.owndata
    assert not found.records.flags.writeable
    # A change of the file shows in the array: they share the page.
    dtype, header = abi.sample_dtype(), abi.ffi().sizeof("edge_recording_header")
    offset = dtype.fields["elapsed_ns"][1]  # type: ignore[index]
    with recording.open("r+b") as file:
        file.seek(header + offset)
        file.write((123456789).to_bytes(8, "little"))
    assert found.records["elapsed_ns"][0] == 123456789


def test_the_mapping_lives_as_long_as_the_array(library: Library, recording: Path) -> None:
    def mapped() -> bool:
        return str(recording) in Path("/proc/self/maps").read_text(encoding="utf-8")

    records = samples.load(library, recording).records
    gc.collect()
    assert mapped()
    assert records["iterations"][9] == 3
    del records
    gc.collect()
    assert not mapped()


@pytest.mark.parametrize("cut_bytes", [1, 31, 32, 33, 320])
def test_a_cut_file_is_whole_records_and_a_remainder(
    library: Library, recording: Path, cut_bytes: int
) -> None:
    content = recording.read_bytes()
    recording.write_bytes(content[:-cut_bytes])
    found = samples.load(library, recording)
    left = 320 - cut_bytes
    assert (len(found), found.remainder_bytes) == (left // 32, left % 32)
    assert set(found.records["iterations"]) <= {3}


@pytest.mark.parametrize("content", [b"", b"x" * 63, b"x" * 4096])
def test_what_is_no_recording_is_refused(library: Library, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "samples.bin"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"samples\.bin"):
        samples.load(library, path)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("start_ns", 1, "the clock went back at sample 5"),
        ("elapsed_ns", (1 << 64) - 5, "the clock went back while it ran at sample 5"),
        ("due_ns", 1 << 63, "it started before it was due at sample 5"),
        ("iterations", 0, "it has no invocations at sample 5"),
    ],
)
def test_times_that_no_clock_gives_are_refused(
    library: Library, recording: Path, field: str, value: int, said: str
) -> None:
    dtype, header = abi.sample_dtype(), abi.ffi().sizeof("edge_recording_header")
    kind, offset = dtype.fields[field][:2]  # type: ignore[index]
    with recording.open("r+b") as file:
        file.seek(header + 5 * dtype.itemsize + offset)
        file.write(value.to_bytes(kind.itemsize, "little"))
    with pytest.raises(UsageError, match=said):
        samples.load(library, recording)


def test_a_recording_without_samples_is_one_of_none(library: Library, tmp_path: Path) -> None:
    path, recorder = tmp_path / "samples.bin", abi.ffi().new("edge_recorder **")
    library.check(library.lib.edge_recorder_open(str(path).encode(), 16, recorder))
    library.check(library.lib.edge_recorder_close(recorder[0]))
    found = samples.load(library, path)
    assert len(found) == 0 and len(found.latency_ns) == 0


def test_latency_counts_from_when_a_sample_was_due(library: Library, tmp_path: Path) -> None:
    path, recorder = tmp_path / "samples.bin", abi.ffi().new("edge_recorder **")
    library.check(library.lib.edge_recorder_open(str(path).encode(), 16, recorder))
    for start, due in ((1000, 0), (2_000_000, 1_500_000)):
        library.check(library.lib.edge_recorder_append(recorder[0], start, 100, 1, due))
    library.check(library.lib.edge_recorder_close(recorder[0]))
    found = samples.load(library, path)
    assert list(found.latency_ns) == [100, 500_100]
    assert list(found.service_ns) == [100, 100]
    assert list(found.queued_ns) == [0, 500_000]
    assert found.late == 0.5


def test_a_missing_recording_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.bin"):
        samples.load(library, tmp_path / "missing.bin")


def test_a_library_of_another_header_is_refused(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = abi.constant
    version = real("EDGE_ABI_VERSION")
    monkeypatch.setattr(
        abi, "constant", lambda name: 99 if name == "EDGE_ABI_VERSION" else real(name)
    )
    with pytest.raises(HostError, match=rf"another edge\.h \(abi_version is {version}"):
        library._check_layout(Path("libedge.so"))


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "libedge.so"
    path.write_bytes(b"no library")
    with pytest.raises(HostError, match="invoke build"):
        Library(path)
