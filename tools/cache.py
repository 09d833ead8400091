"""Below every part: one folder per version in the user's cache, made whole or not at all, by one process at a time."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKER = ".made"
BETWEEN_TRIES = 5.0  # seconds


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consumer-scaling"


class PartError(Exception):
    """A part that is missing or could not be made; the text says which one, why, and what to type next."""


@dataclass(frozen=True)
class Build:
    """One attempt at a part: what is put `into` becomes `home` when all went well, `scratch` is thrown away.

    `programs` are those of the parts it needs.
    """

    into: Path
    home: Path
    scratch: Path
    log: Path
    programs: Mapping[str, Path]

    def run(
        self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, tries: int = 1
    ) -> str:
        """Run to the end and return what it printed; raises PartError with the last lines when the last try fails."""
        while True:
            done = subprocess.run(
                command, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
            )  # fmt: skip
            with self.log.open("a") as log:
                print("$", *command, file=log)
                log.write(done.stdout)
            if not done.returncode:
                return done.stdout
            if (tries := tries - 1) <= 0:
                raise PartError(f"`{_brief(command)}` ended with status {done.returncode}")
            time.sleep(BETWEEN_TRIES)


def _brief(command: tuple[str | Path, ...]) -> str:
    words = [Path(command[0]).name, *map(str, command[1:])]
    return " ".join(words) if len(words) < 8 else " ".join([*words[:4], "...", words[-1]])


@dataclass(frozen=True)
class Part:
    """Something real that the project runs or builds with.

    `programs` maps a command to its place below the part's folder (`*` allowed). `accepts` maps a command to how to ask
    the machine's own for its version and the oldest good enough (None: any will do). A part is made anew when a file
    of `inputs` has changed; `takes` is said where one waits long.
    """

    name: str
    version: str
    make: Callable[[Build], str | None]
    programs: Mapping[str, str] = field(default_factory=dict)
    accepts: Mapping[str, tuple[str, str] | None] = field(default_factory=dict)
    needs: "tuple[Part, ...]" = ()
    inputs: tuple[Path, ...] = ()
    takes: str = ""
    place: Path | None = None

    @property
    def label(self) -> str:
        return f"{self.name.removesuffix('-' + self.version)}-{self.version}"

    @property
    def home(self) -> Path:
        return self.place or cache() / "parts" / self.label

    @property
    def log(self) -> Path:
        return cache() / "logs" / f"{self.label}.log"

    @cached_property
    def recipe(self) -> str:
        return hashlib.sha256(b"\0".join([self.version.encode(), *(p.read_bytes() for p in self.inputs)])).hexdigest()

    @property
    def made(self) -> tuple[str, str] | None:
        """(version, where it came from) of what is there, or None when it is missing or out of date."""
        try:
            recipe, version, origin = (self.home / MARKER).read_text().splitlines()
        except (OSError, ValueError):
            return None
        whole = all(
            program.is_file() for program in (self.home / "bin").iterdir()
        )  # a removed program leaves a dead link
        return (version, origin) if whole and recipe == self.recipe else None


def obtain(part: Part) -> tuple[str, str]:
    """(version, origin) of the part after making sure that it is there; raises PartError."""
    if made := part.made:
        return made
    with _alone(part):
        if made := part.made:
            return made
        if part.place:
            return _make_in(part, part.place)
        work = Path(tempfile.mkdtemp(prefix=f".{part.label}-", dir=part.home.parent))
        try:
            version, origin = _make_in(part, work / "part", scratch=work / "scratch")
            if part.home.exists():
                part.home.rename(work / "old")
            (work / "part").rename(part.home)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return version, origin


def _make_in(part: Part, into: Path, scratch: Path | None = None) -> tuple[str, str]:
    into.mkdir(parents=True, exist_ok=True)
    if scratch:
        scratch.mkdir()
    part.log.parent.mkdir(parents=True, exist_ok=True)
    part.log.unlink(missing_ok=True)
    links, version, origin = *_found_on_path(part), "PATH"
    if not links:
        tools = {program: need.home / "bin" / program for need in part.needs for program in need.programs}
        version = part.make(Build(into, part.home, scratch or into, part.log, tools)) or part.version
        origin = "cache"
        links = {program: only(into, place) for program, place in part.programs.items()}
    (into / "bin").mkdir(exist_ok=True)
    for program, target in links.items():
        link = into / "bin" / program
        if link != target:
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(target, link.parent) if target.is_relative_to(into) else target)
    (into / MARKER).write_text(f"{part.recipe}\n{version}\n{origin}\n")
    return version, origin


def only(folder: Path, pattern: str) -> Path:
    """The file that matches; raises PartError when none does."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise PartError(f"{pattern} is not in what was installed")
    return found[0]


def _found_on_path(part: Part) -> tuple[dict[str, Path], str]:
    """The machine's own programs and the first one's version when all are there and new enough, else nothing."""
    found, versions = {}, []
    for program, test in part.accepts.items():
        place = shutil.which(program)
        own = version_of(place, test[0]) if place and test else ()
        if not place or (test and own < numbers(test[1])):
            return {}, part.version
        found[program] = Path(place)
        versions.append(".".join(map(str, own)) or part.version)
    return found, next(iter(versions), part.version)


def version_of(program: str, question: str) -> tuple[int, ...]:
    answer = subprocess.run([program, *question.split()], capture_output=True, text=True, check=False)
    return numbers(answer.stdout + answer.stderr)


def numbers(text: str) -> tuple[int, ...]:
    """The first dotted version in a text: "go version go1.26.8 linux" -> (1, 26, 8); () when there is none."""
    match = re.search(r"\d+(\.\d+)+", text)
    return tuple(map(int, match[0].split("."))) if match else ()


@contextmanager
def _alone(part: Part) -> Iterator[None]:
    """Hold the part's lock; what a killed run left behind is swept away by the next one."""
    parts = cache() / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    with (parts / f".{part.label}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in parts.glob(f".{part.label}-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
