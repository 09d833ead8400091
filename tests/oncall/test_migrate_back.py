"""A migration of a classic queue is taken back, from wherever it is: no event is lost under live publishers."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.oncall.classic import ARGUMENTS, audit, fill, kind, traces
from tests.oncall.sites import Site, ids

pytestmark = [pytest.mark.servers, pytest.mark.broker, pytest.mark.slow]

STEPS = ("remember", "make", "redirect", "move", "swap", "redirect back", "move back", "remove")


@pytest.mark.parametrize("done", range(1, len(STEPS) + 1), ids=STEPS)
def test_it_can_be_rolled_back_from_every_step(site: Site, done: int) -> None:
    """The classic queue is back with its arguments and keys, and each event is there once."""
    queue, old = audit(site), fill(site, 300)

    with site.publishing(queue, every=0.03) as live:
        for _ in range(done):
            assert 0 == site.oncall("migrate", queue.name, "--step").code
        answer = site.oncall("migrate", queue.name, "--rollback", "--yes", "--json")

    assert (0, []) == (answer.code, answer.data["left"]), answer
    assert (("classic", ARGUMENTS, set(queue.keys)), []) == (kind(site), traces(site))
    assert Counter([*old, *live]) == ids(site.take(queue.name))
