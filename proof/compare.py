"""Between what was planned and what the sinks hold: the ledger, in which every id has exactly one fate."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Content = Mapping[str, Any]  # what one entry holds; fields without a value are left out


@dataclass(frozen=True)
class Ledger:
    """The outcome for one sink: how many entries are as planned, and the places of those that are not.

    `lost`: planned and not there. `different`: there with other content; each says field, expected and found.
    `duplicated`: the content of a planned entry at a second place. `unexpected`: nobody planned it.
    """

    sink: str
    planned: int
    equal: int
    lost: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    duplicated: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    @property
    def true(self) -> bool:
        return self.planned == self.equal and not any(places for _, places in self.faults())

    def faults(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(fate, places) for every fate that must not happen."""
        for fate in ("lost", "different", "duplicated", "unexpected"):
            yield fate, getattr(self, fate)

    def sentences(self, most: int = 3) -> Iterator[str]:
        """One sentence per fault for a person; names at most `most` places."""
        for fate, places in self.faults():
            if places:
                rest = f" and {len(places) - most} more" if len(places) > most else ""
                yield f"{self.sink}: {len(places)} {fate}: {'; '.join(places[:most])}{rest}"


def compare(
    sink: str, planned: Mapping[str, Content], found: Mapping[str, Content], before: Collection[str] = ()
) -> Ledger:
    """Hold {place: content} of a sink against the plan; places that were there `before` the run are not its doing."""
    differences = {
        place: _difference(planned[place], found[place])
        for place in planned.keys() & found.keys()
        if planned[place] != found[place]
    }
    strangers = sorted(found.keys() - planned.keys() - set(before))
    twins = {place for place in strangers if any(found[place] == content for content in planned.values())}
    return Ledger(
        sink=sink,
        planned=len(planned),
        equal=len(planned.keys() & found.keys()) - len(differences),
        lost=tuple(sorted(planned.keys() - found.keys())),
        different=tuple(f"{place} ({difference})" for place, difference in sorted(differences.items())),
        duplicated=tuple(sorted(twins)),
        unexpected=tuple(place for place in strangers if place not in twins),
    )


def _difference(planned: Content, found: Content) -> str:
    return ", ".join(
        f"{field}: planned {planned.get(field)!r}, found {found.get(field)!r}"
        for field in sorted(planned.keys() | found.keys())
        if planned.get(field) != found.get(field)
    )
