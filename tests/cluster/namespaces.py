"""From this machine into a world of its own: namespaces and cgroups around one command, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd")
SPACES = ("--net", "--mount", "--pid", "--ipc", "--uts", "--cgroup")
CGROUPS = Path("/sys/fs/cgroup")
GONE_WITHIN = 10.0  # seconds in which the kernel takes everything away


def obstacles() -> Iterator[str]:
    """What this machine lacks for a node of its own, as sentences."""
    if os.geteuid():
        yield "namespaces with mounts and interfaces of their own need root: sudo make test-cluster"
    if absent := [name for name in CONTROLLERS if not (CGROUPS / name / "cgroup.procs").exists()]:
        yield (
            f"{CGROUPS} has no {', '.join(absent)}: the node is made for the controllers of cgroup v1;"
            " on a machine with cgroup v2 run the same stack in kind"
        )


@dataclass(frozen=True)
class Remains:
    """What a command left on the machine, each by name."""

    processes: tuple[str, ...]
    mounts: tuple[str, ...]
    interfaces: tuple[str, ...]
    cgroups: tuple[str, ...]

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        return ", ".join(f"{kind} {' '.join(names) or 0}" for kind, names in vars(self).items())


def run(command: Sequence[str], mark: str) -> tuple[int, Remains]:
    """Run a command as the first process of new namespaces: its exit status, and what it left behind.

    Whatever it starts ends with it. `mark` names the cgroups around it.
    """
    mounts, interfaces = _mounts(), _interfaces()
    with _cgroups(mark) as groups:
        status = _apart(command, groups)
        processes = _survivors(groups)
    return status, Remains(
        processes=tuple(processes),
        mounts=tuple(sorted(_mounts() - mounts)),
        interfaces=tuple(sorted(_interfaces() - interfaces)),
        cgroups=tuple(str(group) for group in groups if group.exists()),
    )


def _apart(command: Sequence[str], groups: Sequence[Path]) -> int:
    def enter() -> None:
        for group in groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    # unshare ignores SIGTERM while its child runs; killed, it takes the child along, and that one all the rest
    dies_with_us = ("setpriv", "--pdeathsig", "KILL")
    new = ("unshare", *SPACES, "--fork", "--mount-proc", "--kill-child=SIGKILL")
    with subprocess.Popen([*dies_with_us, *new, *command], preexec_fn=enter) as child:  # noqa: PLW1509 - no threads yet
        for name in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, lambda *_: child.kill())
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.kill()
            return child.wait()


@contextmanager
def _cgroups(mark: str) -> Iterator[list[Path]]:
    """A cgroup per controller below the one that this process is in, so that nothing outside of it is touched."""
    ours = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    homes = {name.removeprefix("name="): path for names, path in ours.items() for name in names.split(",")}
    groups = [CGROUPS / name / homes[name].lstrip("/") / mark for name in CONTROLLERS]
    for group in groups:
        group.mkdir()
        if group.is_relative_to(CGROUPS / "cpuset"):  # a new one has no processors and takes nobody in
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((group.parent / file).read_text())
    try:
        yield groups
    finally:
        deadline = time.monotonic() + GONE_WITHIN
        while any(group.exists() for group in groups) and time.monotonic() < deadline:
            for group in groups:
                _remove(group)
            time.sleep(0.1)


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):  # busy while its last process ends
            Path(folder).rmdir()


def _survivors(groups: Sequence[Path]) -> list[str]:
    """The processes that are still in the groups once the kernel had time to end them."""
    deadline = time.monotonic() + GONE_WITHIN
    while (left := _processes(groups)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _processes(groups: Sequence[Path]) -> list[str]:
    files = [file for group in groups for file in group.rglob("cgroup.procs")]
    return sorted({pid for file in files for pid in file.read_text().split()})


def _mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def _interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}
