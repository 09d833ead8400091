"""What the consumers of a scene say about themselves: the lines of their logs, and when one of them came first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.brokers import eventually, lines


class Log:
    """The logs `<service>.log` of a folder from now on."""

    def __init__(self, home: Path, services: Sequence[str]) -> None:
        self._files = {service: home / f"{service}.log" for service in services}
        self._begin = {file: file.stat().st_size for file in self._files.values() if file.exists()}

    def lines(self, *services: str, **said: Any) -> list[dict[str, Any]]:
        """The lines with these fields that services, else all of them, have logged."""
        told = (line for service in services or self._files for line in self._read(self._files[service]))
        return [line for line in told if line.items() >= said.items()]

    def _read(self, file: Path) -> list[dict[str, Any]]:
        if not file.exists():  # the service was never started
            return []
        with file.open("rb") as log:
            log.seek(self._begin.get(file, 0))
            whole = log.read().rpartition(b"\n")[0]  # the last line may still be on its way
        return lines(whole.decode(errors="replace"))

    def first(self, field: str, after: Mapping[str, datetime], **said: Any) -> dict[str, datetime]:
        """When each value of a field was first said after its moment, by the log's times; waits for all of them."""

        def found() -> dict[str, datetime]:
            told = [(line[field], datetime.fromisoformat(line["time"])) for line in self.lines(**said)]
            times = {value: moment for value, moment in reversed(told) if value in after and moment > after[value]}
            return times if times.keys() == after.keys() else {}

        times: dict[str, datetime] = eventually(found, 60)
        return times
