"""Debian packages without root: a private apt, pinned by a lock file, verified by sha256.

Three kinds of apt directories, and none touches this machine's own state:

* :class:`Archive`: a Debian suite for a board's architecture, from a Debian mirror.
* :class:`Sources`: the source packages of a Debian suite.
* :func:`unpack_host_packages`: this machine's own distribution, for tools that it lacks.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from edge import artifact, layout, toml
from edge.errors import HostError, UsageError

Progress = Callable[[str], None]
"""Receives one line a phase, and coarse updates of phases that last."""

KEYRING_PACKAGE = "debian-archive-keyring"
_KEYRING = PurePosixPath("usr/share/keyrings/debian-archive-keyring.gpg")
_REPORT_EVERY_S = 2.0
_SCHEMES = ("http", "https", "file")


# --- which mirror -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One line of an apt configuration: where a suite is served."""

    uri: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True)
class Mirror:
    main: str
    security: str


def parse_one_line(text: str) -> list[Source]:
    """The ``deb`` lines of a classic ``sources.list``."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            uri, suite, components = match.groups()
            sources.append(Source(uri, suite, tuple(components.split())))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """The stanzas of a ``*.sources`` file that are enabled and of type ``deb``."""
    sources = []
    for stanza in _stanzas(text):
        fields = {name.lower(): value.split() for name, value in stanza.items()}
        if "deb" not in fields.get("types", []) or fields.get("enabled") in (["no"], ["false"]):
            continue
        components = tuple(fields.get("components", []))
        sources += [
            Source(uri, suite, components)
            for uri in fields.get("uris", [])
            for suite in fields.get("suites", [])
        ]
    return sources


def _stanzas(text: str) -> list[dict[str, str]]:
    """Fields of each block of a control file; continuation lines joined, comments dropped."""
    stanzas: list[dict[str, str]] = [{}]
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            stanzas.append({})
        elif line[0] in " \t":
            if name in stanzas[-1]:
                stanzas[-1][name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            stanzas[-1][name] = value.strip()
    return [stanza for stanza in stanzas if stanza]


def os_release(etc: Path = Path("/etc")) -> dict[str, str]:
    try:
        text = (etc / "os-release").read_text()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z_]+=", line))
    return {name: "".join(shlex.split(value)) for name, value in pairs}


def find_mirror(etc: Path = Path("/etc"), environ: dict[str, str] | None = None) -> Mirror:
    """The mirror to use: ``EDGE_DEBIAN_MIRROR``, else the one this Debian machine uses itself.

    :raises HostError: neither is there (a machine that is not Debian has no Debian mirror).
    """
    environ = dict(os.environ) if environ is None else environ
    named = environ.get("EDGE_DEBIAN_MIRROR", "").rstrip("/")
    named_security = environ.get("EDGE_DEBIAN_SECURITY_MIRROR", "").rstrip("/")
    if named:
        for url in (named, named_security):
            if not re.fullmatch(rf"({'|'.join(_SCHEMES)}):/\S+|", url):
                raise UsageError(f"'{url}' is no mirror: write http://HOST/PATH, or file:/PATH")
        return Mirror(named, named_security or f"{named}-security")
    release = os_release(etc)
    if release.get("ID") == "debian":
        sources = [
            source
            for source in _host_sources(etc / "apt")
            if "main" in source.components and urlsplit(source.uri).scheme in _SCHEMES
        ]
        suites = {release.get("VERSION_CODENAME", ""), "stable", "oldstable", "testing"}
        suites |= {"unstable", "sid", "oldoldstable"}
        main = _debian_first(s.uri for s in sources if s.suite in suites)
        if main:
            security = _debian_first(
                s.uri for s in sources if s.suite.endswith(("-security", "/updates"))
            )
            return Mirror(main, named_security or security or f"{main}-security")
    raise HostError(
        "no Debian mirror is known: this machine's apt configuration names none; "
        "set EDGE_DEBIAN_MIRROR to the URL of a Debian mirror near you and run again"
    )


def _host_sources(apt: Path) -> list[Source]:
    sources = []
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))):
        parse = {".list": parse_one_line, ".sources": parse_deb822}.get(path.suffix)
        if parse and path.is_file():
            sources += parse(path.read_text(errors="replace"))
    return sources


def _debian_first(uris: Iterable[str]) -> str | None:
    """Vendors' own repositories may carry Debian's suite names; a mirror's path ends in debian."""
    found = [uri.rstrip("/") for uri in uris]
    found.sort(key=lambda uri: not uri.endswith(("/debian", "/debian-security")))
    return found[0] if found else None


# --- what is pinned -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Package:
    """One version of a package, and the digest that its file must have."""

    name: str
    version: str
    architecture: str
    size: int
    sha256: str
    via: str = ""
    """The metapackage through which it was found: a kernel's own name carries its version."""

    @property
    def filename(self) -> str:
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    def verify(self, path: Path) -> None:
        """:raises HostError: the file's digest is another one; the bad file is deleted."""
        _verify(path, self.sha256)


@dataclass(frozen=True)
class Tarball:
    """The upstream part of a source package, and the digest that it must have.

    :ivar version: of the source package, Debian's own part included.
    :ivar path: below the mirror's address.
    """

    name: str
    version: str
    suite: str
    path: str
    size: int
    sha256: str

    def verify(self, path: Path) -> None:
        """:raises HostError: the file's digest is another one; the bad file is deleted."""
        _verify(path, self.sha256)


def _verify(path: Path, sha256: str) -> None:
    digest = artifact.hash_file(path)
    if digest != sha256:
        path.unlink()
        raise HostError(
            f"{path.name}: expected sha256 {sha256}, got {digest}; "
            "the bad file was deleted, run again to fetch it anew"
        )


def load_lock(path: Path) -> tuple[Package, ...]:
    """:raises UsageError: no such lock, or it does not hold what a lock holds."""
    try:
        entries: list[dict[str, Any]] = toml.loads(path.read_text())["package"]
        return tuple(Package(**entry) for entry in entries)
    except FileNotFoundError:
        raise UsageError(f"no lock file {path}: `python -m edge.image lock` writes it") from None
    except (toml.TOMLDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{path.name} is not a lock file ({error}); write it anew") from error


def dump_lock(packages: Iterable[Package], heading: str) -> str:
    lines = [f"# {heading}"]
    for package in sorted(packages, key=lambda package: package.name):
        lines += ["", "[[package]]"]
        lines += [f'{key} = "{getattr(package, key)}"' for key in ("name", "version")]
        lines += [f'architecture = "{package.architecture}"', f"size = {package.size}"]
        lines += [f'sha256 = "{package.sha256}"']
        lines += [f'via = "{package.via}"'] if package.via else []
    return "\n".join(lines) + "\n"


# --- apt ----------------------------------------------------------------------------------------


class _Apt:
    """apt with directories of its own; of the host's settings it takes over how to reach a mirror.

    ``APT_CONFIG`` is read before the host's configuration files, so these are masked, and what is
    wanted of them is copied. Hooks that would clean or announce the host's own state are not.
    """

    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        self.directory = directory
        self.archives = directory / "archives"
        for folder in ("lists/partial", "archives/partial", "log", "etc"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        common = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": "/dev/null",
            "Dir::State": str(directory),
            "Dir::State::lists": str(directory / "lists"),
            "Dir::Cache": str(directory),
            "Dir::Cache::archives": str(self.archives),
            "Dir::Cache::srcpkgcache": "",
            "Dir::Log": str(directory / "log"),
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # _apt could not write into a user's cache
            "Debug::NoLocking": "true",  # our own lock is held, and dpkg's is not ours
        }
        self._config = directory / "apt.conf"
        lines = [f'{key} "{value}";' for key, value in {**common, **settings}.items()]
        self._config.write_text("\n".join([*_host_acquire_settings(), *lines]) + "\n")

    def run(self, *argv: str, cwd: Path | None = None, report: Callable[[str], None] | None = None,
            check: bool = True) -> str:  # fmt: skip
        """Standard output of an apt command; ``report`` receives the percentage of a download."""
        for program in (argv[0], "setpriv"):
            if not shutil.which(program):
                raise HostError(
                    f"{program} is not on this machine: what comes from Debian's archive "
                    "(emulated boards, sources) needs Debian or Ubuntu here"
                )
        environ = {**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C"}
        read_end, write_end = os.pipe()
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            with os.fdopen(read_end) as status:
                try:
                    process = subprocess.Popen(
                        # If we are killed, it must not go on in folders that are free by then.
                        ["setpriv", "--pdeathsig", "KILL", argv[0],
                         f"-oAPT::Status-Fd={write_end}", *argv[1:]],
                        env=environ, cwd=cwd, stdin=subprocess.DEVNULL,
                        stdout=output, stderr=errors, pass_fds=[write_end],
                    )  # fmt: skip
                finally:
                    os.close(write_end)
                with process:
                    try:
                        _relay(status, report)
                        code = process.wait()
                    except BaseException:
                        process.kill()
                        raise
            output.seek(0)
            errors.seek(0)
            if code and check:
                said = [line[3:] for line in errors if line.startswith(("E: ", "W: "))]
                reason = " ".join(" ".join(said).split()) or f"exit code {code}"
                raise HostError(f"`{shlex.join(argv[:2])}` failed: {reason}")
            return output.read()


def _relay(status: Iterable[str], report: Callable[[str], None] | None) -> None:
    """Pass apt's ``dlstatus:<file>:<percent>:<text>`` lines on, one every few seconds."""
    last = time.monotonic()
    for line in status:
        fields = line.split(":", 3)
        if report and fields[0] == "dlstatus" and time.monotonic() - last >= _REPORT_EVERY_S:
            last = time.monotonic()
            report(f"{float(fields[2]):.0f} %")


def _host_acquire_settings() -> list[str]:
    """How this machine reaches its mirrors: proxies, certificates, credentials, clock checks."""
    try:
        dump = subprocess.run(
            ["apt-config", "dump"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    wanted = r"Acquire::(http|https|ForceIPv[46]|Check-Date|Check-Valid-Until|Max-Default-Age)\b"
    return [line for line in dump.splitlines() if re.match(wanted, line, re.IGNORECASE)]


def _is_only_about(suite: str, not_suite: str, error: str) -> bool:
    """Whether apt's complaint names files of one suite, and none of the other."""
    return f"/dists/{suite}/" in error and f"/dists/{not_suite}/" not in error


# --- a suite for a board's architecture ---------------------------------------------------------


class Archive:
    """A Debian suite, with its security updates if wanted, for one architecture."""

    def __init__(
        self, suite: str, architecture: str, progress: Progress, *, security: bool = True
    ) -> None:
        self.suite = suite
        self.architecture = architecture
        self._security = security
        self._progress = progress
        self._directory = layout.packages_dir() / f"{suite}-{architecture}"
        self._apt: _Apt | None = None

    def resolve(self, names: Iterable[str], metapackages: Iterable[str]) -> tuple[Package, ...]:
        """The newest version of each package, and of the kernel that each metapackage stands for.

        Nothing else: dependencies are listed by hand, because a board needs no package manager.
        """
        with layout.exclusive(self._directory, self._progress):
            return self._resolve(self._updated(), names, metapackages)

    def fetch(self, packages: Sequence[Package]) -> dict[str, Path]:
        """The packages' files, verified, by name; a metapackage's name leads to its kernel too.

        A version that the mirror no longer carries is replaced by the newest one that is signed.
        """
        with layout.exclusive(self._directory, self._progress):
            missing = [package for package in packages if not self._cached(package)]
            replaced = {package.name: package for package in packages}
            if missing:
                apt = self._updated()
                replacements = [self._available(apt, package) for package in missing]
                for package, replacement in zip(missing, replacements, strict=True):
                    replaced[package.name] = replacement
                self._download(apt, [p for p in replacements if not self._cached(p)])
        return {
            alias: self._directory / "archives" / package.filename
            for name, package in replaced.items()
            for alias in (name, package.via)
            if alias
        }

    def _cached(self, package: Package) -> bool:
        path = self._directory / "archives" / package.filename
        if not path.exists():
            return False
        package.verify(path)
        return True

    def _updated(self) -> _Apt:
        """The private apt with a fresh, signed index; once an archive."""
        if self._apt is None:
            mirror = find_mirror()
            main = f"deb {mirror.main} {self.suite} main\n"
            updates = f"deb {mirror.security} {self.suite}-security main\n"
            sources = main + (updates if self._security else "")
            apt = _apt_of_suite(self._directory, self.architecture, sources, self._progress)
            what = f"reading the index of Debian {self.suite} {self.architecture}"
            self._progress(what)
            try:
                apt.run("apt-get", "update", report=lambda done: self._progress(f"{what}: {done}"))
            except HostError as error:
                # Mirrors serve torn indexes for days. A lock pins digests: nothing is less sure.
                if not _is_only_about(f"{self.suite}-security", self.suite, str(error)):
                    raise
                self._progress(f"{error}; going on without {self.suite}-security")
                apt = _apt_of_suite(self._directory, self.architecture, main, self._progress)
                apt.run("apt-get", "update")
            self._apt = apt
        return self._apt

    def _resolve(
        self, apt: _Apt, names: Iterable[str], metapackages: Iterable[str]
    ) -> tuple[Package, ...]:
        concrete = dict.fromkeys(names, "")
        for metapackage in metapackages:
            depends = self._show(apt, "--no-all-versions", metapackage)[0].get("Depends", "")
            kernel = re.search(r"\blinux-image-\d\S*", depends)
            if not kernel:
                raise UsageError(f"'{metapackage}' depends on no kernel; name a linux-image-* one")
            concrete[kernel.group()] = metapackage
        found = {
            stanza["Package"]: _package(stanza, concrete[stanza["Package"]])
            for stanza in self._show(apt, "--no-all-versions", *concrete)
        }
        if absent := sorted(set(concrete) - set(found)):
            raise UsageError(
                f"Debian {self.suite} {self.architecture} has no package {', '.join(absent)}"
            )
        return tuple(found.values())

    def _available(self, apt: _Apt, locked: Package) -> Package:
        stanzas = self._show(apt, locked.name, check=False)
        for stanza in stanzas:
            if stanza["Version"] == locked.version:
                if stanza["SHA256"] != locked.sha256:
                    raise HostError(
                        f"{locked.filename}: expected sha256 {locked.sha256}, but the mirror's "
                        f"signed index says {stanza['SHA256']}; check the lock file"
                    )
                return locked
        via = [locked.via] if locked.via else []
        newest = self._resolve(apt, [] if via else [locked.name], via)[0]
        self._progress(
            f"{locked.name} {locked.version} has left the mirror: using {newest.name} "
            f"{newest.version}, as its signed index says"
        )
        return newest

    def _show(self, apt: _Apt, *argv: str, check: bool = True) -> list[dict[str, str]]:
        return _stanzas(apt.run("apt-cache", "show", *argv, check=check))

    def _download(self, apt: _Apt, packages: list[Package]) -> None:
        if not packages:
            return
        size = sum(package.size for package in packages) / 1e6
        what = f"downloading {len(packages)} packages ({size:.0f} MB)"
        self._progress(what)
        incoming = self._directory / "incoming"
        incoming.mkdir(exist_ok=True)
        apt.run(
            "apt-get", "download", *(f"{p.name}={p.version}" for p in packages),
            cwd=incoming, report=lambda done: self._progress(f"{what}: {done}"),
        )  # fmt: skip
        for package in packages:
            package.verify(incoming / package.filename)
            (incoming / package.filename).rename(apt.archives / package.filename)


def _package(stanza: dict[str, str], via: str) -> Package:
    return Package(
        name=stanza["Package"],
        version=stanza["Version"],
        architecture=stanza["Architecture"],
        size=int(stanza["Size"]),
        sha256=stanza["SHA256"],
        via=via,
    )


def _apt_of_suite(directory: Path, architecture: str, sources: str, progress: Progress) -> _Apt:
    """An apt that knows ``sources``, a sources.list, and trusts Debian's keys alone."""
    keyring = _keyring(progress)
    trusted = directory / "trusted.gpg.d"
    trusted.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(keyring, trusted / keyring.name)
    (directory / "sources.list").write_text(sources)
    (directory / "status").touch()
    return _Apt(
        directory,
        {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Update::Error-Mode": "any",  # an index half fetched is a failure
            "Dir::State::status": str(directory / "status"),
            "Dir::Etc::sourcelist": str(directory / "sources.list"),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::Etc::trusted": "/dev/null",
            "Dir::Etc::trustedparts": str(trusted),
        },
    )


def _keyring(progress: Progress) -> Path:
    """Debian's archive keys: this machine's, else those its distribution packages (Ubuntu does)."""
    installed = Path("/") / _KEYRING
    if installed.exists():
        return installed
    return unpack_host_packages([KEYRING_PACKAGE], progress) / _KEYRING


# --- source packages ----------------------------------------------------------------------------

_APT_HELPER = "/usr/lib/apt/apt-helper"
_TARBALL = re.compile(
    r"^'(?P<uri>[^']+\.orig\.tar\.\w+)' \S+ (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$",
    re.MULTILINE,
)
_VERSION = re.compile(r"^'[^']+_([^'_]+)\.dsc'", re.MULTILINE)


class Sources:
    """The source packages of a suite, of which only what comes from upstream is taken."""

    def __init__(self, suite: str, progress: Progress) -> None:
        self.suite = suite
        self._progress = progress
        self._directory = layout.packages_dir() / f"{suite}-source"

    def resolve(self, names: Sequence[str]) -> tuple[Tarball, ...]:
        """The newest version of each, as the signed index says.

        :raises UsageError: the suite has no such source package.
        :raises HostError: there is no index to be had, or its signature is wrong.
        """
        with layout.exclusive(self._directory, self._progress):
            mirror = find_mirror().main
            sources = f"deb-src {mirror} {self.suite} main\n"
            apt = _apt_of_suite(self._directory, "amd64", sources, self._progress)
            self._progress(f"reading the index of Debian {self.suite}'s sources")
            apt.run("apt-get", "update")
            return tuple(self._newest(apt, name, mirror) for name in names)

    def _newest(self, apt: _Apt, name: str, mirror: str) -> Tarball:
        argv = ("apt-get", "source", "--download-only", "--print-uris", "--only-source", name)
        shown = apt.run(*argv, check=False)
        found = _TARBALL.search(shown)
        version = _VERSION.search(shown)
        if found is None or version is None:
            raise UsageError(f"Debian {self.suite} has no source package {name}")
        path = found["uri"].removeprefix(f"{mirror}/")
        return Tarball(
            *(name, unquote(version[1]), self.suite, path, int(found["size"]), found["sha256"])
        )


def fetch_tarballs(tarballs: Sequence[Tarball], progress: Progress) -> dict[str, Path]:
    """The tarballs' files, verified, by the package's name.

    The lock's digests say what they must be: no index is needed for it.

    :raises HostError: one is not to be had, or is another one than was pinned.
    """
    directory = layout.packages_dir() / "tarballs"
    with layout.exclusive(directory, progress):
        files = {each.name: directory / unquote(PurePosixPath(each.path).name) for each in tarballs}
        missing = []
        for each in tarballs:
            if files[each.name].exists():
                each.verify(files[each.name])
            else:
                missing.append(each)
        if missing:
            mirror = find_mirror().main
            apt = _Apt(directory / "apt", {})
            done, total = 0, sum(each.size for each in missing)
            for each in missing:
                progress(f"downloading sources: {done / 1e6:.0f} of {total / 1e6:.0f} MB")
                _fetch_tarball(apt, mirror, each, files[each.name])
                done += each.size
    return files


def _fetch_tarball(apt: _Apt, mirror: str, tarball: Tarball, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    try:
        apt.run(_APT_HELPER, "download-file", f"{mirror}/{tarball.path}", str(part))
    except HostError as error:
        part.unlink(missing_ok=True)
        raise HostError(
            f"the source of {tarball.name} {tarball.version} can't be had from the Debian mirror "
            f"({error}): check the network, or set EDGE_DEBIAN_MIRROR to a mirror that has it"
        ) from None
    tarball.verify(part)
    artifact.move_into_place(part, target)


# --- this machine's own distribution ------------------------------------------------------------


def unpack_host_packages(names: Sequence[str], progress: Progress) -> Path:
    """A folder with the packages, and what they need that is not installed here, unpacked.

    :raises HostError: this machine's apt does not have them; says what to install instead.
    """
    release = os_release()
    system = f"{release.get('ID', 'unknown')}-{release.get('VERSION_ID', 'rolling')}"
    home = layout.tools_dir() / system
    target = home / "+".join(names)
    with layout.exclusive(home, progress):
        if target.is_dir():
            return target
        wanted = " ".join(names)
        try:
            with layout.published(target) as part:
                for deb in _download_host_packages(home / "apt", names, progress):
                    unpack(deb, part)
                    deb.unlink()
        except HostError as error:
            raise HostError(
                f"can't get {wanted} without root ({error}); "
                f"install it: sudo apt-get install {wanted}"
            ) from error
    return target


def _download_host_packages(
    directory: Path, names: Sequence[str], progress: Progress
) -> list[Path]:
    apt = _Apt(directory, {"Dir::State::status": "/var/lib/dpkg/status"})
    what = f"fetching {' '.join(names)} from this machine's distribution, without root"
    progress(what)
    try:
        apt.run("apt-get", "update", report=lambda done: progress(f"{what}: {done}"))
    except HostError as error:
        # A third party's broken source must not stand in the way of the distribution's.
        progress(str(error))
    for stale in apt.archives.glob("*.deb"):  # of a run that was interrupted
        stale.unlink()
    apt.run(
        "apt-get", "install", "--download-only", "--reinstall", "--yes", *names,
        report=lambda done: progress(f"{what}: {done}"),
    )  # fmt: skip
    return sorted(apt.archives.glob("*.deb"))


# --- unpacking ----------------------------------------------------------------------------------


def unpack(
    deb: Path, root: Path, keep: Callable[[PurePosixPath], bool] = lambda path: True
) -> None:
    """Unpack a package below ``root`` with merged ``/usr``, as the user who runs this.

    Owner and group are left to whoever makes an image of the tree. Everything stays readable and
    writable by its owner here, so that the tree can be read into an image and deleted again.
    """
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    path = merged_usr(PurePosixPath(member.name))
                    if keep(path):
                        _place(tar, member, root / path, root)
        except tarfile.TarError as error:
            raise HostError(f"{deb.name} can't be unpacked ({error}); delete {deb}") from error
    if process.returncode:
        raise HostError(f"{deb.name} can't be unpacked: dpkg-deb failed; delete {deb}")


def merged_usr(path: PurePosixPath) -> PurePosixPath:
    """Where a package's path lies when /bin, /sbin and /lib are links into /usr."""
    parts = [part for part in path.parts if part not in (".", "/")]
    if ".." in parts:
        raise HostError(f"a package holds the path {path}: refused")
    if parts and parts[0] in ("bin", "sbin", "lib", "lib32", "lib64"):
        parts.insert(0, "usr")
    return PurePosixPath(*parts)


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path) -> None:
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(member.mode & 0o7777 | 0o700)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        path.hardlink_to(root / merged_usr(PurePosixPath(member.linkname)))
    elif member.isfile():
        content = tar.extractfile(member)
        assert content is not None
        with content, path.open("wb") as file:
            shutil.copyfileobj(content, file)
        path.chmod(member.mode & 0o7777 | 0o600)
