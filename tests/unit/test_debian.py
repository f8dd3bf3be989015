"""Which mirror is used, what a lock pins, and how packages are laid out."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from edge import debian, layout
from edge.debian import Mirror, Package, Source
from edge.errors import HostError, UsageError

DEB822 = """\
Types: deb
# an old snapshot: http://snapshot.example/debian
URIs: http://one.example/debian
Suites: bookworm
# a comment may stand inside a list
 bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://one.example/debian-security/
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 URIs: http://inside-a-key.example
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://two.example/debian bookworm main contrib # ours
deb-src http://two.example/debian bookworm main
deb http://two.example/debian-security bookworm-security main
"""


def host(etc: Path, identity: str, **sources: str) -> Path:
    (etc / "apt/sources.list.d").mkdir(parents=True)
    (etc / "os-release").write_text(identity)
    for name, text in sources.items():
        (etc / "apt/sources.list.d" / name.replace("_", ".")).write_text(text)
    return etc


BOOKWORM = 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_CODENAME=bookworm\n'


def test_deb822_has_a_source_for_each_suite() -> None:
    assert debian.parse_deb822(DEB822) == [
        Source("http://one.example/debian", "bookworm", ("main", "contrib")),
        Source("http://one.example/debian", "bookworm-updates", ("main", "contrib")),
        Source("http://one.example/debian-security/", "bookworm-security", ("main",)),
    ]


def test_one_line_skips_options_comments_and_sources() -> None:
    assert debian.parse_one_line(ONE_LINE) == [
        Source("http://two.example/debian", "bookworm", ("main", "contrib")),
        Source("http://two.example/debian-security", "bookworm-security", ("main",)),
    ]


@pytest.mark.parametrize(
    ("sources", "where"),
    [({"debian_sources": DEB822}, "http://one.example"), ({"a_list": ONE_LINE}, "http://two.example")],
)  # fmt: skip
def test_a_debian_host_lends_its_mirrors(
    tmp_path: Path, sources: dict[str, str], where: str
) -> None:
    found = debian.find_mirror(host(tmp_path, BOOKWORM, **sources), {})
    assert found == Mirror(f"{where}/debian", f"{where}/debian-security")


def test_a_vendors_repository_is_not_taken_for_debian(tmp_path: Path) -> None:
    vendor = "deb https://vendor.example/debian/12/prod bookworm main\n"
    etc = host(tmp_path, BOOKWORM, a_list=vendor, b_list=ONE_LINE)
    assert debian.find_mirror(etc, {}).main == "http://two.example/debian"


def test_mirror_lists_and_cdroms_are_skipped(tmp_path: Path) -> None:
    text = (
        "deb cdrom:[Debian 12]/ bookworm main\n"
        "deb mirror+file:/etc/apt/mirrors/debian bookworm main\n"
    )
    etc = host(tmp_path, BOOKWORM, a_list=text, b_list=ONE_LINE)
    assert debian.find_mirror(etc, {}).main == "http://two.example/debian"


def test_a_host_without_security_suite_gets_the_usual_one(tmp_path: Path) -> None:
    etc = host(tmp_path, BOOKWORM, a_list="deb http://two.example/debian stable main\n")
    assert debian.find_mirror(etc, {}).security == "http://two.example/debian-security"


def test_the_environment_wins(tmp_path: Path) -> None:
    etc = host(tmp_path, BOOKWORM, debian_sources=DEB822)
    environ = {"EDGE_DEBIAN_MIRROR": "http://mine.example/debian/"}
    assert debian.find_mirror(etc, environ) == Mirror(
        "http://mine.example/debian", "http://mine.example/debian-security"
    )
    environ["EDGE_DEBIAN_SECURITY_MIRROR"] = "http://sec.example/d"
    assert debian.find_mirror(etc, environ).security == "http://sec.example/d"


def test_a_mirror_that_is_no_url_is_refused(tmp_path: Path) -> None:
    environ = {"EDGE_DEBIAN_MIRROR": "http://x.example/debian bookworm main\ndeb evil"}
    with pytest.raises(UsageError, match="is no mirror"):
        debian.find_mirror(tmp_path, environ)


def test_ubuntu_has_no_debian_mirror_and_says_the_remedy(tmp_path: Path) -> None:
    ubuntu = "deb http://ubuntu.example/ubuntu jammy main\n"
    etc = host(tmp_path, "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=jammy\n", a_list=ubuntu)
    with pytest.raises(HostError, match="set EDGE_DEBIAN_MIRROR"):
        debian.find_mirror(etc, {})


# --- pinning ------------------------------------------------------------------------------------

PACKAGE = Package("libx", "1:2.0-1", "arm64", 3, "ba7816bf" + "0" * 56)
KERNEL = Package("linux-image-6.1.0-1", "6.1.1", "arm64", 3, "1" * 64, via="linux-image")


def test_a_lock_reads_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.toml"
    path.write_text(debian.dump_lock([KERNEL, PACKAGE], "Written by a test."))
    assert debian.load_lock(path) == (PACKAGE, KERNEL)


@pytest.mark.parametrize("text", ["[[package]]\nname = 'x'\n", "nonsense", "", "[[package]]\nx=1"])
def test_a_broken_lock_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.lock.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"x\.lock\.toml is not a lock file"):
        debian.load_lock(path)


def test_a_missing_lock_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"edge\.image lock"):
        debian.load_lock(tmp_path / "x.lock.toml")


def test_a_file_with_another_digest_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / PACKAGE.filename
    assert path.name == "libx_1%3a2.0-1_arm64.deb"
    path.write_bytes(b"abc")
    with pytest.raises(HostError) as raised:
        PACKAGE.verify(path)
    for part in (path.name, PACKAGE.sha256, "ba7816bf8f01cfea414140de5dae2223"):
        assert part in str(raised.value)
    assert not path.exists()


class FakeApt:
    """Answers ``apt-cache show`` from a signed index; downloads whatever it is asked for."""

    def __init__(self, directory: Path, index: dict[str, str]) -> None:
        self.archives = directory / "archives"
        self.archives.mkdir(parents=True)
        self.index = index
        self.downloaded: list[str] = []

    def run(self, *argv: str, cwd: Path | None = None, **_: object) -> str:
        words = [word for word in argv[2:] if not word.startswith("-")]
        if argv[1] == "show":
            return "\n\n".join(self.index[word] for word in words if word in self.index)
        assert cwd is not None
        for word in words:
            name, version = word.split("=")
            (cwd / f"{name}_{version.replace(':', '%3a')}_arm64.deb").write_bytes(b"abc")
        self.downloaded += words
        return ""


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def stanza(name: str, version: str, sha256: str = ABC, depends: str = "") -> str:
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: arm64\nSize: 3\n"
        f"Depends: {depends}\nDescription: x\n long: y\nSHA256: {sha256}"
    )


def archive(
    monkeypatch: pytest.MonkeyPatch, index: dict[str, str]
) -> tuple[debian.Archive, FakeApt, list[str]]:
    said: list[str] = []
    opened = debian.Archive("bookworm", "arm64", said.append)
    fake = FakeApt(layout.packages_dir() / "bookworm-arm64", index)
    monkeypatch.setattr(opened, "_updated", lambda: fake)
    return opened, fake, said


def test_cached_packages_need_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, fake, _ = archive(monkeypatch, {"libx": stanza("libx", "1")})
    locked = Package("libx", "1", "arm64", 3, ABC)
    files = opened.fetch([locked])
    assert files["libx"].read_bytes() == b"abc"
    assert fake.downloaded == ["libx=1"]
    monkeypatch.setattr(opened, "_updated", lambda: pytest.fail("apt was run"))
    assert opened.fetch([locked]) == files


def test_a_version_that_has_left_is_resolved_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    index = {
        "libx": stanza("libx", "2"),
        "linux-image": stanza("linux-image", "7", depends="linux-image-7.0 (= 7), y"),
        "linux-image-7.0": stanza("linux-image-7.0", "7"),
    }
    opened, fake, said = archive(monkeypatch, index)
    files = opened.fetch([Package("libx", "1", "arm64", 3, "0" * 64), KERNEL])
    assert sorted(fake.downloaded) == ["libx=2", "linux-image-7.0=7"]
    assert files["linux-image"].name == "linux-image-7.0_7_arm64.deb"
    assert "libx 1 has left the mirror: using libx 2, as its signed index says" in said


def test_a_lock_that_contradicts_the_signed_index_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, fake, _ = archive(monkeypatch, {"libx": stanza("libx", "1")})
    with pytest.raises(HostError, match=f"signed index says {ABC}"):
        opened.fetch([Package("libx", "1", "arm64", 3, "0" * 64)])
    assert fake.downloaded == []


def test_a_download_with_another_digest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, fake, _ = archive(monkeypatch, {"libx": stanza("libx", "1", "0" * 64)})
    with pytest.raises(HostError, match=f"expected sha256 {'0' * 64}, got {ABC}"):
        opened.fetch([Package("libx", "1", "arm64", 3, "0" * 64)])
    assert not list(fake.archives.glob("*.deb"))


def test_a_torn_index_of_security_updates_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    (layout.packages_dir() / "bookworm-arm64").mkdir(parents=True)
    said: list[str] = []
    broken = ["/debian-security/dists/bookworm-security/main: Mirror sync in progress?"]

    def update(apt: debian._Apt, *argv: str, **_: object) -> str:
        sources = (apt.directory / "sources.list").read_text()
        for path in broken:
            suite = path.split("/dists/")[1].split("/")[0]
            if f" {suite} " in sources:
                raise HostError(f"Failed to fetch {path}")
        return ""

    monkeypatch.setattr(debian._Apt, "run", update)
    monkeypatch.setattr(debian, "find_mirror", lambda: Mirror("http://m/debian", "http://s"))
    monkeypatch.setattr(debian, "_host_acquire_settings", list)
    monkeypatch.setattr(debian, "_keyring", lambda _: Path(__file__))

    debian.Archive("bookworm", "arm64", said.append)._updated()
    assert "Mirror sync in progress?; going on without bookworm-security" in said[-1]

    said.clear()
    debian.Archive("bookworm", "arm64", said.append, security=False)._updated()
    assert len(said) == 1

    broken.append("/debian/dists/bookworm/main: 404")
    with pytest.raises(HostError, match="404"):
        debian.Archive("bookworm", "arm64", said.append)._updated()


# --- unpacking ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "merged"),
    [("./bin/sh", "usr/bin/sh"), ("/lib/x/y.so", "usr/lib/x/y.so"), ("./etc/x", "etc/x")],
)
def test_usr_is_merged(path: str, merged: str) -> None:
    assert str(debian.merged_usr(PurePosixPath(path))) == merged


def test_a_path_that_leaves_the_tree_is_refused() -> None:
    with pytest.raises(HostError, match="refused"):
        debian.merged_usr(PurePosixPath("./usr/../../etc/passwd"))
