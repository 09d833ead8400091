"""The command that obtains real parts: a line per part with its time, and what to do about one that failed."""

import argparse
import sys
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock

from tools import golang
from tools.cache import Part, PartError, cache, obtain
from tools.parts import FOR_CLUSTER, FOR_TESTS, FOR_UP, PARTS, owner

HEARTBEAT = 30.0


class Progress:
    """Says what goes on: one line when a long part starts, one when it ends, a sign of life in between."""

    def __init__(self) -> None:
        self.started: dict[str, tuple[Part, float]] = {}
        self.lock = Lock()

    def say(self, part: Part, version: str, text: str) -> None:
        with self.lock:
            print(f"  {part.name:<23}{version:<11}{text}", flush=True)

    def start(self, part: Part) -> None:
        self.started[part.name] = part, time.monotonic()
        if part.takes:
            self.say(part, part.version, f"... takes about {part.takes}")

    def end(self, part: Part, version: str, text: str) -> None:
        took = time.monotonic() - self.started.pop(part.name)[1]
        self.say(part, version, f"{text:<10}{took:5.0f} s")

    def heartbeat(self) -> None:
        at_work = list(self.started.values())
        longest = time.monotonic() - min(since for _, since in at_work)
        names = ", ".join(part.name for part, _ in at_work)
        with self.lock:
            print(f"  ... after {longest:.0f} s still at work: {names}", flush=True)


def with_needs(parts: Iterable[Part]) -> list[Part]:
    """The parts, each after what it needs; what a part that is there once needed is left out."""
    order: dict[str, Part] = {}
    for part in parts:
        if not part.made:
            order |= {need.name: need for need in with_needs(part.needs)}
        order[part.name] = part
    return list(order.values())


def obtain_all(parts: list[Part]) -> list[str]:
    """Obtain the parts side by side, each after what it needs; returns what failed, as text for a person."""
    progress = Progress()
    runs: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(max_workers=len(parts) or 1) as pool:
        for part in parts:
            if part.made:
                progress.say(part, part.made[0], "from PATH" if part.made[1] == "PATH" else "present")
            else:
                runs[part.name] = pool.submit(
                    _one, part, [runs[n.name] for n in part.needs if n.name in runs], progress
                )
        waiting = set(runs.values())
        while waiting:
            done, waiting = wait(waiting, timeout=HEARTBEAT, return_when=FIRST_COMPLETED)
            if not done and progress.started:
                progress.heartbeat()
    golang.sweep()
    ended = [(part, runs[part.name].exception()) for part in parts if part.name in runs]
    return [_failure(part, fault) for part, fault in ended if fault]


def _one(part: Part, needs: list[Future[None]], progress: Progress) -> None:
    if any(need.exception() for need in needs):
        raise PartError("a part it needs could not be obtained")
    progress.start(part)
    try:
        version, origin = obtain(part)
    except Exception:
        progress.end(part, part.version, "FAILED")
        raise
    progress.end(part, version, "from PATH" if origin == "PATH" else "installed")


def _failure(part: Part, fault: BaseException) -> str:
    last = part.log.read_text().splitlines()[-12:] if part.log.exists() else []
    said = [f"    | {line}" for line in last]
    return "\n".join([
        f"{part.name} {part.version} could not be obtained: {fault}", *said,
        f"  All of it: {part.log}", f"  Try again: python3 -m tools {part.name}",
    ])  # fmt: skip


def show() -> None:
    print(f"{'part':<23}{'version':<11}{'where':<60}programs")
    for part in PARTS.values():
        version, origin = part.made or (part.version, "missing")
        where = str(part.home) if origin == "cache" else origin
        print(f"{part.name:<23}{version:<11}{where:<60}{', '.join(part.programs)}")


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 all there, 1 some part failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tools",
        description="Obtain the real parts this project runs with. Without a name: what `make up` needs.",
        epilog="Examples: python3 -m tools | python3 -m tools promtool rabbitmq-4.0 | python3 -m tools --all",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="a part or a program that a part brings")
    parser.add_argument("--all", action="store_true", help="what the tests need as well")
    parser.add_argument("--cluster", action="store_true", help="what a stack on a Kubernetes node needs instead")
    parser.add_argument("--list", action="store_true", help="what there is, and where")
    options = parser.parse_args(arguments)
    if options.list:
        show()
        return 0
    found = {name: PARTS.get(name) or owner(name) for name in options.parts}
    if unknown := [name for name, part in found.items() if not part]:
        parser.error(f"no part or program is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    group = FOR_CLUSTER if options.cluster else FOR_TESTS if options.all else FOR_UP
    wanted = [part for part in found.values() if part] or group
    print(f"Parts in {cache()}:")
    failures = obtain_all(with_needs(wanted))
    print(*failures, sep="\n\n", file=sys.stderr, end="\n" if failures else "")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
