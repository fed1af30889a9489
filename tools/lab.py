"""Run one command under Debian's own kernel, in a virtual machine that is thrown away: `make lab`.

    python tools/lab.py [--timeout S] [--modules M,...] -- COMMAND [ARGUMENT...]

For tests of what this machine's kernel may lack, such as TLS in the kernel. The guest's files are this machine's, at
the same paths, so that the checkout and its Python are there; what it writes goes to memory and is gone afterwards.
COMMAND runs as root in the current directory and environment, with LAB=1 added; there is no network but loopback. Its
output comes here, both streams as one, and its exit code is ours; 124 where the time was over, 125 where the guest did
not come up.

Needs Debian on amd64 and qemu-system-x86. Two packages, the kernel and a static busybox, are downloaded with apt-get
and unpacked into the user's cache, once: nothing is installed. The guest is emulated in software where the processor
offers no virtualisation: everything takes about twenty times as long then.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

QEMU = "qemu-system-x86_64"
KERNEL = "linux-image-amd64"
BUSYBOX = "busybox-static"
#: What the guest needs to see this machine's files.
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
#: TLS, and the ciphers that the kernel would look for by itself: there is no modprobe in the guest.
TLS_MODULES = ("tls", "ghash-generic", "gcm", "ctr", "chacha_generic", "poly1305_generic", "chacha20poly1305")
UNWANTED = frozenset(("_", "PWD", "OLDPWD", "SHLVL", "TMUX", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"))

FIRST_STAGE = r"""#!/bin/busybox sh
b=/bin/busybox
fail() { $b echo "lab: $*"; $b poweroff -f; }
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
while read -r m; do $b insmod "/m/$m" || $b echo "lab: no module $m"; done </m/order
share() { $b mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$2" "$1" "/$1" || fail "no share $1"; }
share host cache=loose,ro
share lab cache=none
$b mount -t tmpfs -o size=80% up /up
$b mkdir -p /up/u /up/w
$b mount -t overlay -o lowerdir=/host,upperdir=/up/u,workdir=/up/w,xino=off root /new || fail "no overlay"
for d in dev proc sys run tmp; do $b mkdir -p /new/$d; done
for d in dev proc sys; do $b mount --move /$d /new/$d; done
$b mount -t tmpfs run /new/run
$b mkdir /new/run/lab
$b mount --move /lab /new/run/lab
$b cp $b /new/run/busybox
exec $b switch_root /new /run/busybox sh /run/lab/second
"""

SECOND_STAGE = r"""b=/run/busybox
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
$b mount -t tmpfs -o mode=1777 shm /dev/shm
[ -e /dev/fd ] || { $b ln -s /proc/self/fd /dev/fd; $b ln -s fd/0 /dev/stdin; $b ln -s fd/1 /dev/stdout; \
    $b ln -s fd/2 /dev/stderr; }
$b ip link set lo up
$b stty -F /dev/ttyS1 raw
: >/run/lab/began
$b setsid $b sh /run/lab/command </dev/null >/dev/ttyS1 2>&1
echo $? >/run/lab/status
exec $b poweroff -f
"""


class LabError(Exception):
    """The machine cannot be booted; the text says what is missing."""


# -- what is booted ----------------------------------------------------------------------------------------------------


def cache_directory() -> Path:
    """Where the unpacked packages stay."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moorings-lab"


def run(*command: str, directory: Path | None = None) -> str:
    """The output of a command. Errors: LabError with what it said."""
    try:
        return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise LabError(f"the command {command[0]} is missing; this needs Debian") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"{shlex.join(command)} failed: {error.stderr.strip()} (apt-get update may help)") from error


def unpacked(package: str, *, sign: str) -> Path:
    """The directory of an unpacked Debian package; `sign` is a pattern of a file by which it is known to be there."""
    directory = cache_directory() / package
    if not any(directory.glob(sign)):
        print(f"lab: downloading {package}", file=sys.stderr)
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_directory()) as downloads:
            run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, directory=Path(downloads))
            for archive in Path(downloads).glob("*.deb"):
                run("dpkg", "-x", str(archive), str(directory))
    return directory


def kernel_package() -> str:
    """The package behind the name of the newest kernel."""
    found = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", KERNEL))
    if found is None:
        raise LabError(f"apt knows no {KERNEL}: this needs Debian on amd64")
    return found[1]


def modules_in_order(directory: Path, wanted: list[str]) -> list[Path]:
    """The files of modules, each behind those that it needs; what is built into the kernel has none."""
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in directory.rglob("*.ko")}
    ordered: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or path in ordered:
            return
        needs = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for each in needs[1].decode().split(",") if needs else ():
            add(each)
        ordered.append(path)

    for name in wanted:
        add(name)
    return ordered


def archive(entries: list[tuple[str, int, bytes]]) -> bytes:
    """A cpio archive (newc) of (name, mode, content)."""
    made = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        made += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        made += bytes(-len(made) % 4) + content
        made += bytes(-len(made) % 4)
    return bytes(made)


def first_files(busybox: Path, modules: list[Path]) -> bytes:
    """The initial RAM disk."""
    entries = [(name, 0o40755, b"") for name in ("bin", "dev", "host", "lab", "m", "new", "proc", "sys", "up")]
    entries += [("init", 0o100755, FIRST_STAGE.encode()), ("bin/busybox", 0o100755, busybox.read_bytes())]
    entries += [(f"m/{path.name}", 0o100644, path.read_bytes()) for path in modules]
    entries.append(("m/order", 0o100644, "".join(f"{path.name}\n" for path in modules).encode()))
    return gzip.compress(archive(entries), 1)


# -- one run -----------------------------------------------------------------------------------------------------------


def command_script(command: list[str]) -> str:
    """What the guest's shell runs."""
    lines = [
        f"export {name}={shlex.quote(value)}"
        for name, value in (os.environ | {"LAB": "1"}).items()
        if name not in UNWANTED and re.fullmatch(r"[A-Za-z_]\w*", name)
    ]
    lines += [f"cd {shlex.quote(str(Path.cwd()))} || exit 125", f"exec {shlex.join(command)}"]
    return "\n".join(lines) + "\n"


def virtualises() -> bool:
    """Whether the processor helps. (A /dev/kvm without that does not boot an ordinary kernel.)"""
    flags = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    return bool(flags & {"svm", "vmx"}) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def qemu_arguments(kernel: Path, shared: Path) -> list[str]:
    """How the machine is started."""
    arguments = [QEMU, "-M", "q35", "-m", "2048", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    arguments += ["-accel", "kvm", "-cpu", "host"] if virtualises() else ["-accel", "tcg", "-cpu", "max"]
    arguments += ["-serial", f"file:{shared / 'console'}", "-serial", "stdio"]
    arguments += ["-kernel", str(kernel), "-initrd", str(shared / "initrd")]
    arguments += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off nowatchdog random.trust_cpu=on"]
    for tag, path, more in (("host", "/", ",readonly=on"), ("lab", str(shared), "")):
        arguments += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap{more}"]
    return arguments


def boot(command: list[str], modules: list[str], timeout: float) -> int:
    """Run a command in a fresh machine; its exit code."""
    if shutil.which(QEMU) is None:
        raise LabError(f"{QEMU} is missing (Debian: apt install qemu-system-x86)")
    cache_directory().mkdir(parents=True, exist_ok=True)
    root = unpacked(kernel_package(), sign="boot/vmlinuz-*")
    busybox = next(unpacked(BUSYBOX, sign="**/bin/busybox").glob("**/bin/busybox"))
    with tempfile.TemporaryDirectory(prefix="moorings-lab-") as name:
        shared = Path(name)
        (shared / "initrd").write_bytes(first_files(busybox, modules_in_order(root, [*BOOT_MODULES, *modules])))
        (shared / "second").write_text(SECOND_STAGE, encoding="utf-8")
        (shared / "command").write_text(command_script(command), encoding="utf-8")
        machine = subprocess.Popen(qemu_arguments(next(root.glob("boot/vmlinuz-*")), shared), stdin=subprocess.DEVNULL)
        try:
            machine.wait(timeout)
        except subprocess.TimeoutExpired:
            print(f"lab: not done after {timeout:g} s", file=sys.stderr)
            return 124
        finally:
            machine.kill()
            machine.wait()
        status = shared / "status"
        if status.exists():
            return int(status.read_text(encoding="ascii"))
        print((shared / "console").read_text(encoding="utf-8", errors="replace")[-4000:], file=sys.stderr)
        return 125


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="lab.py", description="Run COMMAND under Debian's kernel in a virtual machine."
    )
    parser.add_argument("--timeout", type=float, default=900, help="seconds for boot and command (900)")
    parser.add_argument("--modules", default=",".join(TLS_MODULES), help="kernel modules to load (those of TLS)")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    options = parser.parse_args()
    try:
        return boot(options.command, options.modules.split(","), options.timeout)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
