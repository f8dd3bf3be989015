"""What an emulated board boots: a disk, a kernel and an initramfs, built without root.

An image is a file ``edge/images/<name>.toml``, pinned by ``<name>.lock.toml``. No package script
is run and nothing is mounted: packages are unpacked, files of ours are added, ``mke2fs`` reads the
tree and ``debugfs`` sets the owners.

The system's disk is read-only, so that many machines use one file and all resume from one state; a
second one, copied for each machine, holds ``/home``.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import debian, emulator, layout, toml
from edge.debian import Progress
from edge.errors import EdgeError, HostError, UsageError

USER = "edge"
"""The account that boards are logged into; ``root`` has the same key."""
_USER_ID = 1000

# Programs under QEMU's user mode see this machine's /proc otherwise, and LiteRT's detection of the
# processor crashes on one that names no ARM core: a Cortex-A72 and a Cortex-A7, as Linux has them.
_CPUINFO = {
    "arm64": "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n",
    "armhf": "processor\t: 0\n"
    "Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 vfpd32\n"
    "CPU implementer\t: 0x41\nCPU architecture: 7\nCPU variant\t: 0x0\nCPU part\t: 0xc07\n"
    "CPU revision\t: 5\n\n",
}

_UNWANTED = [
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian"),
    *("usr/share/bug", "usr/lib/systemd", "usr/lib/udev"),
]


# --- the description ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """What goes into an image."""

    name: str
    suite: str
    architecture: str
    hostname: str
    disk_mib: int
    """Of ``/home``; the system's own disk is as large as it needs to be."""
    kernel: str
    """A metapackage, such as ``linux-image-cloud-arm64``."""
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    initramfs_packages: tuple[str, ...]
    sysroot_packages: tuple[str, ...]
    links: dict[str, str] = field(default_factory=dict)
    """Path to where it leads, for links that a package's script would make."""
    security: bool = True
    """Take security updates; mirrors drop those of a suite that Debian no longer cares for."""
    disk_modules: tuple[str, ...] = ()
    """Modules that lie on the disk, in ``/lib/modules/extra``, for whoever loads them later."""

    @property
    def lock_file(self) -> Path:
        return layout.images_dir() / f"{self.name}.lock.toml"

    @cached_property
    def lock(self) -> tuple[debian.Package, ...]:
        """:raises UsageError: it does not pin everything that the description names."""
        locked = debian.load_lock(self.lock_file)
        pinned = {name for package in locked for name in (package.name, package.via)}
        if missing := sorted({*self.all_packages, self.kernel} - pinned):
            raise UsageError(
                f"{self.lock_file.name} does not pin {', '.join(missing)}: "
                f"run `python -m edge.image lock {self.name}`"
            )
        return locked

    @property
    def all_packages(self) -> list[str]:
        return sorted({*self.packages, *self.initramfs_packages, *self.sysroot_packages})


def names() -> list[str]:
    files = layout.images_dir().glob("*.toml")
    return sorted(file.stem for file in files if not file.name.endswith(".lock.toml"))


def load(name: str) -> Image:
    """:raises UsageError: no such image, or its description is wrong."""
    path = layout.images_dir() / f"{name}.toml"
    if name not in names():
        raise UsageError(f"no image '{name}': choose one of {', '.join(names())}")
    return parse(name, path.read_text())


def parse(name: str, text: str) -> Image:
    where = f"images/{name}.toml"
    try:
        values: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise UsageError(f"{where}: {error}") from error
    expected = {each.name: str(each.type) for each in fields(Image) if each.name != "name"}
    if unknown := sorted(set(values) - set(expected)):
        raise UsageError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(expected)}")
    if missing := sorted(set(expected) - set(values) - {"links", "security", "disk_modules"}):
        raise UsageError(f"{where}: key {', '.join(missing)} is missing")
    for key in values:
        values[key] = _typed(where, key, expected[key], values[key])
    return Image(name=name, **values)


def _typed(where: str, key: str, kind: str, value: object) -> object:
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "int" and isinstance(value, int) and value > 0:
        return value
    if kind.startswith("tuple") and isinstance(value, list):
        items = tuple(item for item in value if isinstance(item, str))
        if len(items) == len(value):
            return items
    if kind.startswith("dict") and isinstance(value, dict):
        items = tuple(item for item in value.values() if isinstance(item, str))
        if len(items) == len(value):
            return value
    raise UsageError(f"{where}: {key} must be {_WANTED[kind.partition('[')[0]]}")


_WANTED = {
    "str": "a string",
    "bool": "true or false",
    "int": "a positive number",
    "tuple": "a list of strings",
    "dict": "a table of strings",
}


# --- the keys -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    """Of this cache: the host key of its boards, and the key that logs into them."""

    login: Path
    host: Path

    def public(self, private: Path) -> str:
        return private.with_suffix(".pub").read_text().strip()

    def known_hosts(self, host: str, port: int) -> str:
        """The line that makes a board of this cache a known host."""
        return f"[{host}]:{port} {self.public(self.host)}\n"


def keys(progress: Progress) -> Keys:
    folder = layout.images_cache_dir() / "keys"
    with layout.exclusive(layout.images_cache_dir(), progress):
        if not folder.is_dir():
            with layout.published(folder) as part:
                part.chmod(0o700)
                for name in ("login", "host"):
                    _write_key(part / name)
    return Keys(login=folder / "login", host=folder / "host")


def _write_key(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    path.touch(mode=0o600)
    path.write_bytes(private)
    path.with_suffix(".pub").write_bytes(public + b"\n")


def dropbear_key(openssh: bytes) -> bytes:
    """An Ed25519 key file of OpenSSH in the format of dropbear, which can't read the former."""
    key = serialization.load_ssh_private_key(openssh, password=None)
    assert isinstance(key, Ed25519PrivateKey)
    pair = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    strings = (b"ssh-ed25519", pair)
    return b"".join(len(each).to_bytes(4, "big") + each for each in strings)


# --- the result ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class BuiltImage:
    """Files that a virtual machine is started from. Read-only: a machine copies ``home``."""

    image: Image
    directory: Path
    keys: Keys

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def system(self) -> Path:
        return self.directory / "system.ext4"

    def home(self, *, blank: bool) -> Path:
        """:param blank: as on a freshly flashed board, without a key that may log in."""
        return self.directory / ("blank.ext4" if blank else "home.ext4")

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.directory / "initramfs.cpio"


def built(image: Image, image_id: str) -> BuiltImage:
    """An image that has been built, perhaps by another version of this program."""
    return BuiltImage(image, layout.images_cache_dir() / image_id, keys(lambda line: None))


def build(image: Image, progress: Progress) -> BuiltImage:
    """The image, from the cache if nothing that goes into it has changed."""
    access = keys(progress)
    directory = layout.images_cache_dir() / f"{image.name}-{_fingerprint(image, access)}"
    with layout.exclusive(layout.images_cache_dir(), progress):
        if not directory.is_dir():
            files = _archive(image, progress).fetch(image.lock)
            start = time.monotonic()
            progress(f"building image {image.name}")
            with layout.published(directory) as part:
                kernel = part / "kernel"
                _unpack_kernel(files[image.kernel], kernel)
                _build_initramfs(image, files, kernel, part / "initramfs.cpio")
                next((kernel / "boot").glob("vmlinuz-*")).rename(part / "vmlinuz")
                _build_system(image, files, access, kernel, part / "system.ext4", progress)
                for blank in (False, True):
                    made = BuiltImage(image, part, access)
                    _build_home(made, made.home(blank=blank), blank, progress)
                shutil.rmtree(kernel)
            progress(f"built image {image.name} in {time.monotonic() - start:.0f} s")
    return BuiltImage(image, directory, access)


def sysroot(image: Image, progress: Progress) -> Path:
    """The image's C and C++ libraries, and its Python, in a folder, for ``qemu-aarch64 -L``."""
    wanted = [package for package in image.lock if package.name in image.sysroot_packages]
    content = repr((wanted, image.links, _BYTECODE, _CPUINFO))
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    directory = layout.images_cache_dir() / f"{image.name}-sysroot-{digest}"
    with layout.exclusive(layout.images_cache_dir(), progress):
        if not directory.is_dir():
            files = _archive(image, progress).fetch(wanted)
            with layout.published(directory) as part:
                _merge_usr(part)
                for package in wanted:
                    debian.unpack(files[package.name], part, _wanted)
                _link(part, image.links)
                _compile_python(image, part, progress)
                (part / "proc").mkdir(exist_ok=True)
                (part / "proc/cpuinfo").write_text(_CPUINFO[image.architecture])
    return directory


def write_lock(image: Image, progress: Progress) -> None:
    """Pin the newest versions that the mirror has."""
    packages = _archive(image, progress).resolve(image.all_packages, [image.kernel])
    heading = f"Written by `python -m edge.image lock {image.name}`: change the other file instead."
    image.lock_file.write_text(debian.dump_lock(packages, heading))
    progress(f"pinned {len(packages)} packages in {image.lock_file.name}")


def _archive(image: Image, progress: Progress) -> debian.Archive:
    return debian.Archive(image.suite, image.architecture, progress, security=image.security)


def _fingerprint(image: Image, access: Keys) -> str:
    """Of everything that goes in, this program included."""
    digest = hashlib.sha256(repr((image, image.lock)).encode())
    ours = (Path(__file__), Path(debian.__file__), _wake_source())
    for path in (*ours, access.login, access.host):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _wanted(path: PurePosixPath) -> bool:
    return not any(path.is_relative_to(folder) for folder in _UNWANTED)


def _link(root: Path, links: Mapping[str, str]) -> None:
    for path, leads_to in links.items():
        (root / path).symlink_to(leads_to)


_BYTECODE = "import argparse, ctypes, hashlib, json, mmap, numpy, struct, zipfile"


def _compile_python(image: Image, root: Path, progress: Progress) -> None:
    """Leave the bytecode that a package's script would, of what a program of ours imports.

    Whoever logs into the board may not write it, and without it each start takes seconds more.
    """
    python = root / "usr/bin/python3"
    if python.exists():
        progress("compiling the board's Python modules")
        qemu = emulator.user_emulator(image.architecture, progress)
        _run_tool(qemu, "-L", str(root), str(python), "-E", "-c", _BYTECODE)


def _merge_usr(root: Path) -> None:
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")


# --- kernel and initramfs -----------------------------------------------------------------------


def _unpack_kernel(deb: Path, folder: Path) -> None:
    debian.unpack(deb, folder, lambda path: path.name.startswith("vmlinuz-") or ".ko" in path.name)


def _build_initramfs(image: Image, files: dict[str, Path], kernel: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        for name in image.initramfs_packages:
            debian.unpack(files[name], Path(scratch), _wanted)
        busybox = (Path(scratch) / "usr/bin/busybox").read_bytes()
    entries = [
        CpioEntry(folder, stat.S_IFDIR | 0o755) for folder in
        ("bin", "dev", "lib", "lib/modules", "proc", "root", "sys")
    ]  # fmt: skip
    entries += [
        CpioEntry("bin/busybox", stat.S_IFREG | 0o755, busybox),
        CpioEntry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
        CpioEntry("init", stat.S_IFREG | 0o755, _INITRAMFS_INIT.encode()),
    ]
    for number, (name, content) in enumerate(_modules(kernel, image.modules)):
        path = f"lib/modules/{number:02}-{name}.ko"
        entries.append(CpioEntry(path, stat.S_IFREG | 0o644, content))
    target.write_bytes(cpio(entries))


def _modules(kernel: Path, wanted: Iterable[str]) -> list[tuple[str, bytes]]:
    """The modules and what they depend on, in the order in which they are to be loaded.

    One that has no file is built into the kernel.
    """
    files = {_module_name(path): path for path in kernel.rglob("*.ko*")}
    loaded: dict[str, bytes] = {}

    def load_after_dependencies(name: str) -> None:
        if name in loaded or name not in files:
            return
        content = files[name].read_bytes()
        if files[name].suffix == ".xz":
            content = lzma.decompress(content)
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for dependency in (depends.group(1).decode() if depends else "").split(","):
            load_after_dependencies(dependency.replace("-", "_"))
        loaded[name] = content

    for name in wanted:
        load_after_dependencies(name)
    return list(loaded.items())


def _module_name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


@dataclass(frozen=True)
class CpioEntry:
    path: str
    mode: int
    """File type and permissions."""
    content: bytes = b""
    """For a symbolic link, where it leads."""


def cpio(entries: Iterable[CpioEntry]) -> bytes:
    """An archive in the format that the kernel unpacks ("newc"); everything belongs to root."""
    archive = bytearray()
    end = CpioEntry("TRAILER!!!", 0)
    for inode, entry in enumerate([*entries, end], start=1):
        name = entry.path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % number for number in numbers) + name
        archive += b"\0" * (-len(archive) % 4)
        archive += entry.content
        archive += b"\0" * (-len(archive) % 4)
    return bytes(archive)


# --- the disks ----------------------------------------------------------------------------------

_SYSTEM_MIB = 1024
"""Most of it a hole in the file; nothing is ever written to it."""


def _build_system(
    image: Image, files: dict[str, Path], access: Keys, kernel: Path, target: Path,
    progress: Progress,
) -> None:  # fmt: skip
    root = target.with_name("root")
    _merge_usr(root)
    for name in image.packages:
        debian.unpack(files[name], root, _wanted)
    _link(root, image.links)
    _compile_python(image, root, progress)
    _link_applets(root)
    for folder, mode in _FOLDERS.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).chmod(mode)
    for path, (text, mode) in {
        **_guest_files(image),
        "etc/ssh/ssh_host_ed25519_key": (access.host.read_text(), 0o600),
        # Anybody on the board may read it, as on a real one: `bootstrap` does.
        "etc/ssh/ssh_host_ed25519_key.pub": (access.public(access.host) + "\n", 0o644),
    }.items():
        (root / path).write_text(text)
        (root / path).chmod(mode)
    dropbear = root / "etc/ssh/dropbear_ed25519_host_key"
    dropbear.write_bytes(dropbear_key(access.host.read_bytes()))
    dropbear.chmod(0o600)
    for number, (name, content) in enumerate(_modules(kernel, image.disk_modules)):
        (root / f"usr/lib/modules/extra/{number:02}-{name}.ko").write_bytes(content)
    _compile_wake(image, root / "usr/sbin/edge-wake")
    make_file_system(root, target, _SYSTEM_MIB, progress, journal=False)
    shutil.rmtree(root)


def _build_home(made: BuiltImage, target: Path, blank: bool, progress: Progress) -> None:
    tree = target.with_name("tree")
    for user in (USER, "root"):
        folder = tree / user / ".ssh"
        folder.mkdir(parents=True)
        folder.parent.chmod(0o755 if user == USER else 0o700)
        folder.chmod(0o700)
        if not blank:
            keys_file = folder / "authorized_keys"
            keys_file.write_text(made.keys.public(made.keys.login) + "\n")
            keys_file.chmod(0o600)
    make_file_system(tree, target, made.image.disk_mib, progress)
    shutil.rmtree(tree)


_TARGETS = {"arm64": "aarch64-linux-none", "armhf": "arm-linux-none"}


def _wake_source() -> Path:
    return layout.images_dir() / "wake.c"


def _compile_wake(image: Image, target: Path) -> None:
    source = _wake_source()
    argv = [
        *(sys.executable, "-m", "ziglang", "cc", "-target", _TARGETS[image.architecture]),
        *("-ffreestanding", "-nostdlib", "-static", "-Os", "-s", str(source), "-o", str(target)),
    ]
    result = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise HostError(f"zig could not compile {source.name}: {result.stderr.strip()}")


def make_file_system(
    root: Path | None, target: Path, size_mib: int, progress: Progress, *,
    owner: int = 0, journal: bool = True,
) -> None:  # fmt: skip
    """An ext4 file system in the file ``target``, with the tree ``root`` in it.

    A folder named as the user of boards, and what is in it, belongs to that user and everything
    else to root, whoever runs this: ``mke2fs`` copies the owners of the tree, ``debugfs`` writes
    the right ones afterwards.
    """
    mke2fs = emulator.file_system_tool("mke2fs", progress)
    _run_tool(
        mke2fs, "-q", "-F", "-t", "ext4", "-m", "0", *([] if journal else ["-O", "^has_journal"]),
        # Otherwise the guest's kernel goes on writing inode tables behind a measurement's back.
        "-E", f"lazy_itable_init=0,lazy_journal_init=0,root_owner={owner}:{owner}",
        *(["-d", str(root)] if root else []), str(target), f"{size_mib}M",
    )  # fmt: skip
    if root:
        debugfs = emulator.file_system_tool("debugfs", progress)
        with tempfile.NamedTemporaryFile("w", dir=target.parent) as script:
            script.writelines(_owner_commands(root))
            script.flush()
            said = _run_tool(debugfs, "-w", "-f", script.name, str(target))
        errors = [line for line in said.splitlines() if not line.startswith("debugfs")]
        if errors:
            raise HostError(f"debugfs could not set the owners in {target.name}: {errors[0]}")


def _owner_commands(root: Path) -> Iterable[str]:
    home = root / USER
    for path in sorted(root.rglob("*")):
        owner = _USER_ID if path.is_relative_to(home) else 0
        for key in ("uid", "gid"):
            yield f'set_inode_field "/{path.relative_to(root)}" {key} {owner}\n'


def _run_tool(tool: emulator.Tool, *argv: str) -> str:
    """What the tool said on standard error."""
    result = subprocess.run(
        [*tool.argv, *argv], env=tool.environ(), capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if result.returncode:
        raise HostError(f"{Path(tool.argv[0]).name} failed: {result.stderr.strip()}")
    return result.stderr


def _link_applets(root: Path) -> None:
    """Names for busybox's commands, unless a package brings the real one."""
    for applet in applets((root / "usr/bin/busybox").read_bytes()):
        if not any((root / folder / applet).exists() for folder in ("usr/bin", "usr/sbin")):
            (root / "usr/bin" / applet).symlink_to("busybox")
    (root / "usr/sbin/init").symlink_to("../bin/busybox")


def applets(busybox: bytes) -> list[str]:
    """The commands of a busybox for another processor, read from the name table in it."""
    tables = re.findall(rb"\[\0\[\[\0(?:[a-z0-9_.+-]+\0)+", busybox)
    found = max(tables, key=len).decode().split("\0")[:-1] if tables else []
    if not {"sh", "mount", "init", "getty"} <= set(found):
        raise HostError("this busybox has no table of commands, or lacks some: use another build")
    return found


_FOLDERS = {
    "data": 0o755,
    "dev": 0o755,
    "etc/ssh": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "run": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr/lib/modules/extra": 0o755,
    "var/log": 0o755,
}

# Of the password "edge", for the serial console only: sshd takes nothing but the key.
_PASSWORD = (
    "$6$edgeboard$/YW8ehHvi98CMrqWM6aifIMwRn3ofr/VQipKpJMox553jCf8Vwmy2ztxtN7oaJ3Jnt3mvDeDCYszBRfe"
    "jdp9g1"
)


def _guest_files(image: Image) -> dict[str, tuple[str, int]]:
    """Path to text and permissions."""
    return {
        "etc/passwd": (
            "root:x:0:0:root:/home/root:/bin/sh\n"
            f"{USER}:x:{_USER_ID}:{_USER_ID}:{USER}:/home/{USER}:/bin/sh\n"
            "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
            0o644,
        ),
        "etc/group": (f"root:x:0:\ntty:x:5:\n{USER}:x:{_USER_ID}:\nnogroup:x:65534:\n", 0o644),
        "etc/shadow": (
            f"root:{_PASSWORD}:19000:0:99999:7:::\n{USER}:{_PASSWORD}:19000:0:99999:7:::\n"
            "sshd:*:19000::::::\nnobody:*:19000::::::\n",
            0o600,
        ),
        "etc/shells": ("/bin/sh\n", 0o644),
        "etc/hostname": (f"{image.hostname}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost {image.hostname}\n", 0o644),
        "etc/os-release": (
            f'ID=debian\nVERSION_CODENAME={image.suite}\nPRETTY_NAME="edge image {image.name}"\n',
            0o644,
        ),
        "etc/nsswitch.conf": ("passwd: files\ngroup: files\nshadow: files\nhosts: files\n", 0o644),
        "etc/ssh/sshd_config": (_SSHD_CONFIG, 0o644),
        "etc/fstab": (_FSTAB, 0o644),
        "etc/inittab": (_INITTAB, 0o644),
        "usr/sbin/edge-boot": (_BOOT, 0o755),
        "usr/sbin/edge-control": (_CONTROL, 0o755),
    }


_INITRAMFS_INIT = """\
#!/bin/sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t sysfs sys /sys
for module in /lib/modules/*.ko; do $b insmod "$module"; done
# Virtio disks come up in any order: the system's is known by its serial number.
root=
for disk in /sys/block/vd*; do
    if [ "$($b cat "$disk/serial")" = system ]; then root=/dev/${disk##*/}; fi
done
$b umount /sys
if $b mount -t ext4 -o ro "$root" /root; then
    $b mount -o move /dev /root/dev
    exec $b switch_root /root /sbin/init
fi
echo "edge: no root file system on a disk with the serial number 'system'"
$b poweroff -f
"""

_INITTAB = """\
::sysinit:/usr/sbin/edge-boot
::respawn:/usr/sbin/edge-control
ttyAMA0::respawn:/usr/bin/getty -L 115200 ttyAMA0 vt100
::ctrlaltdel:/usr/bin/reboot
::shutdown:/usr/bin/sync
::shutdown:/usr/bin/umount -a -r
"""

_FSTAB = """\
proc /proc proc defaults 0 0
sys /sys sysfs defaults 0 0
devpts /dev/pts devpts gid=5,mode=620 0 0
shm /dev/shm tmpfs mode=1777 0 0
run /run tmpfs mode=755 0 0
tmp /tmp tmpfs mode=1777 0 0
log /var/log tmpfs mode=755 0 0
"""

_BOOT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin
mkdir -p /dev/pts /dev/shm
mount -a
mkdir -p /run/sshd /run/edge
# Servers listen on all addresses, those to come as well; starting one takes longest.
if [ -x /usr/sbin/sshd ]; then
    /usr/sbin/sshd &
else
    dropbear -s -r /etc/ssh/dropbear_ed25519_host_key &
fi
ifconfig lo 127.0.0.1
ifconfig eth0 10.0.2.15 netmask 255.255.255.0
hostname -F /etc/hostname
wait
"""

_CONTROL = """\
#!/bin/sh
# The host's line into the board, which no network fault cuts. The host says hello; "hold" is the
# answer of a board that waits for its clock, "ready" that of one that can be used, "broken" that of
# one that never will be. Each order is answered by "done" or "failed".
export PATH=/usr/sbin:/usr/bin

# Disks come up in any order, and so do ports: each is known by what it says of itself.
home=
data=
for disk in /sys/block/vd*; do
    read -r serial < "$disk/serial"
    case $serial in
        home) home=/dev/${disk##*/} ;;
        data) data=/dev/${disk##*/} ;;
    esac
done

# Nothing of /home may be in memory when a state is saved: it differs from machine to machine.
start() {
    if [ "$(cat /run/edge/state)" != hold ]; then return; fi
    if [ -z "$1" ] || echo "$1 $2 $3" | edge-wake &&
        mount -t ext4 -o noatime "$home" /home &&
        { [ -z "$data" ] || mount -t ext4 -o noatime "$data" /data; }
    then
        echo ready > /run/edge/state
    else
        echo broken > /run/edge/state
        echo "edge: the board can't be started from its disk"
    fi > /dev/console 2>&1
}

shut_down() {
    sync
    kill -TERM -1
    for moment in 1 2 3 4 5 6 7 8 9 10; do
        if umount /home; then break; fi
        sleep 0.1
    done
    mount -o remount,ro /home
    sync
    "$1" -f
}

free_kib() { df -k /home | awk 'END { print $4 }'; }

# The file's own bookkeeping takes room as well: what is left of it is filled byte by byte.
fill() {
    all=$(($(free_kib) - 1024 - $1))
    if [ "$all" -gt 0 ]; then fallocate -l "${all}k" /home/.edge-fill || return 1; fi
    if [ "$1" -gt 0 ]; then
        dd if=/dev/zero of=/home/.edge-fill-too bs=1k count=$(($(free_kib) - $1))
    else
        dd if=/dev/zero of=/home/.edge-fill-too bs=4k
    fi
    sync
}

# Not busybox's own, which its shell prefers.
tc() { /usr/sbin/tc "$@"; }

slow() {
    [ -x /usr/sbin/tc ] || return 1
    tc qdisc del dev eth0 root
    tc qdisc del dev eth0 ingress
    if [ "$1" -eq 0 ] && [ "$2" -eq 0 ]; then return 0; fi
    for module in /lib/modules/extra/*.ko; do insmod "$module"; done
    # Only what leaves can be delayed: what arrives is led through a device that it leaves by.
    ip link set ifb0 up || return 1
    tc qdisc add dev eth0 ingress &&
    tc filter add dev eth0 ingress matchall action mirred egress redirect dev ifb0 || return 1
    limits=
    if [ "$1" -gt 0 ]; then limits="rate ${1}kbit"; fi
    if [ "$2" -gt 0 ]; then limits="$limits delay ${2}ms"; fi
    tc qdisc del dev ifb0 root
    for device in eth0 ifb0; do
        tc qdisc add dev "$device" root netem $limits || return 1
    done
}

obey() {
    case $1 in
        fill) fill "$2" ;;
        free) rm -f /home/.edge-fill /home/.edge-fill-too && sync ;;
        slow) slow "$2" "$3" ;;
        clock) date -s "@$(($(date +%s) + $2))" ;;
        *) return 1 ;;
    esac
}

port=
while [ -z "$port" ]; do
    for name in /sys/class/virtio-ports/*/name; do
        if read -r found < "$name" && [ "$found" = edge.control ]; then port=${name%/name}; fi
    done
    [ -n "$port" ] || sleep 0.05
done
exec 3<>"/dev/${port##*/}"
[ -e /run/edge/state ] || echo hold > /run/edge/state
while :; do
    while read -r order one two three <&3; do
        case $order in
            "") ;;
            hello) cat /run/edge/state >&3 ;;
            start) start "$one" "$two" "$three" ;;
            poweroff) shut_down poweroff ;;
            reboot) echo done >&3; shut_down reboot ;;
            *) if obey "$order" "$one" "$two" >/dev/null 2>&1; then echo done >&3
               else echo failed >&3; fi ;;
        esac
    done
    # Nobody listens: the board has been started again from within, and goes on by itself.
    start
    # Blocks until the host listens again.
    echo >&3
done
"""

_SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxSessions 50
Subsystem sftp /usr/lib/openssh/sftp-server
"""


# --- for maintainers ----------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """Build an image, or pin its packages anew."""
    parser = argparse.ArgumentParser(prog="python -m edge.image", description=main.__doc__)
    parser.add_argument("action", choices=["build", "lock", "sysroot"])
    parser.add_argument("name", choices=names())
    arguments = parser.parse_args(argv)
    image = load(arguments.name)
    try:
        if arguments.action == "build":
            print(build(image, print).directory)
        elif arguments.action == "sysroot":
            print(sysroot(image, print))
        else:
            write_lock(image, print)
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
