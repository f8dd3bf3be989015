from __future__ import annotations

import hashlib
import json
import zipfile

import pytest

from edge import layout, wheels
from edge.errors import HostError
from edge.wheels import Wheel


def cached(files: dict[str, str]) -> Wheel:
    """A wheel that is in the cache already."""
    part = layout.wheels_dir() / "part"
    part.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(part, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    sha256 = hashlib.sha256(part.read_bytes()).hexdigest()
    target = layout.wheels_dir() / sha256 / "some-1.0-py3-none-any.whl"
    target.parent.mkdir()
    part.rename(target)
    return Wheel("some", "1.0", "3.11", "manylinux_2_17_aarch64", sha256)


def test_a_wheel_in_the_cache_needs_no_network() -> None:
    wheel = cached({"some/a.py": "a", "some/lib.so": "library"})
    assert wheels.fetch(wheel, print).name == "some-1.0-py3-none-any.whl"
    assert wheels.member(wheel, "some/lib.so", print).read_text(encoding="utf-8") == "library"
    folder = wheels.unpacked(wheel, print)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert names == ["some/a.py", "some/lib.so"]
    # What was unpacked once is used, even if the wheel has gone.
    wheels.fetch(wheel, print).unlink()
    assert wheels.unpacked(wheel, print) == folder


def test_a_file_that_the_wheel_lacks() -> None:
    with pytest.raises(HostError, match=r"does not hold some/b\.py"):
        wheels.member(cached({"some/a.py": "a"}), "some/b.py", print)


@pytest.mark.parametrize("name", ["../evil", "some/../../evil", "/evil"])
def test_a_wheel_stays_in_its_folder(name: str) -> None:
    wheel = cached({"some/a.py": "a", name: "evil"})
    with pytest.raises(HostError, match="outside"):
        wheels.unpacked(wheel, print)
    assert not list(layout.cache_dir().rglob("evil"))
    assert not (layout.wheels_dir() / wheel.sha256 / "files").exists()


def test_a_wheel_with_another_content_is_fetched_again() -> None:
    wheel = cached({"some/a.py": "a"})
    path = wheels.fetch(wheel, print)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(AssertionError, match="start no process"):
        wheels.fetch(wheel, print)
    assert not path.exists()


def test_what_pip_reports() -> None:
    url = "https://host/p/Some_Thing-1.2-cp39-cp39-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
    entry = {
        "download_info": {"url": f"{url}#fragment", "archive_info": {"hash": "sha256=12ab"}},
        "metadata": {"name": "Some_Thing", "version": "1.2"},
    }
    found = wheels.parse_report(json.dumps({"install": [entry]}), "3.9")
    assert found == Wheel("some-thing", "1.2", "3.9", "manylinux_2_17_aarch64", "12ab")


def test_tags_run_from_old_glibc_to_new() -> None:
    words = wheels._target("3.9", ["manylinux_2_17_armv7l"])
    assert words[words.index("--abi") + 1] == "cp39"
    assert words[-2:] == ["--platform", "manylinux_2_17_armv7l"]
