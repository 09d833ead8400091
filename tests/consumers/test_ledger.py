"""The ledger with two workers over one store: who may write a run, and who must not any more."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.ledger import MOST_ATTEMPTS, Lease, Ledger, LostLease, Run
from consumers.paths import document
from consumers.sinks import Document, Documents, Stored
from consumers.sinks.memory import MemoryDocuments
from consumers.verdicts import Later, Retry
from tests.runs import PARTITIONS, RUNS, until
from tests.stories import run

MINUTE = timedelta(minutes=1)


class Pair:
    """Two workers, a and b, that share a store and a clock which is set by hand."""

    def __init__(self, documents: Documents) -> None:
        self.job = uuid.uuid4().hex  # a partition of its own
        self.documents, self.now = documents, datetime(2026, 1, 4, 1, tzinfo=UTC)
        self.a, self.b = self.ledger("a"), self.ledger("b")

    def ledger(self, owner: str, lease: timedelta = MINUTE, documents: Documents | None = None) -> Ledger:
        return Ledger(documents or self.documents, RUNS, owner, lease, lambda: self.now)

    async def take(self, ledger: Ledger, trigger: str = "t") -> Lease:
        claim = await ledger.claim(self.job, trigger)
        assert isinstance(claim, Lease), claim
        return claim

    async def see(self, ledger: Ledger, trigger: str = "t") -> Run:
        claim = await ledger.claim(self.job, trigger)
        assert isinstance(claim, Run), claim
        return claim


@pytest.fixture(params=["memory", pytest.param("emulator", marks=pytest.mark.servers)])
def documents(request: pytest.FixtureRequest) -> Callable[[], Documents]:
    """An empty store in memory; or the emulator, where each test has a job of its own."""
    if request.param == "memory":
        return lambda: MemoryDocuments(PARTITIONS)
    emulators = request.getfixturevalue("emulators")
    made: Callable[[], Documents] = emulators.documents
    return made


@pytest.fixture
def story(documents: Callable[[], Documents]) -> Callable[[Callable[[Pair], Awaitable[None]]], None]:
    """Run a story about two workers."""

    def about_two(tell: Callable[[Pair], Awaitable[None]]) -> None:
        async def told() -> None:
            store = documents()
            try:
                await tell(Pair(store))
            finally:
                await store.close()

        run(told())

    return about_two


Story = Callable[[Callable[[Pair], Awaitable[None]]], None]


class Early:
    """A store in which the first look finds nothing yet."""

    def __init__(self, documents: Documents) -> None:
        self._documents, self._looked = documents, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)

    async def read(self, container: str, partition: str, identity: str) -> Stored | None:
        if self._looked:
            return await self._documents.read(container, partition, identity)
        self._looked = True
        return None


class Failing:
    """A store whose next writes over a document fail, or have been `written` when their answer is lost."""

    def __init__(self, documents: Documents, times: int, *, written: bool = False) -> None:
        self._documents, self.left, self._written = documents, times, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)

    async def replace(self, container: str, document: Document, etag: str) -> str:
        if self.left:
            self.left -= 1
            if self._written:
                await self._documents.replace(container, document, etag)
            raise Retry(Later.SINK_UNAVAILABLE, "down")
        return await self._documents.replace(container, document, etag)


def test_a_trigger_seen_for_the_first_time_begins_a_run(story: Story) -> None:
    """Its worker owns it for the time of a lease."""

    async def tell(two: Pair) -> None:
        lease = await two.take(two.a)

        until = two.now + MINUTE
        new = Run(id="t", job=two.job, trigger="t", owner="a", lease_until=until, started_at=two.now)
        assert (True, new) == (lease.fresh, lease.run)
        assert lease.run == await two.see(two.b)

    story(tell)


def test_of_two_that_claim_at_the_same_time_one_gets_the_run(story: Story) -> None:
    """The other one is told who holds it."""

    async def tell(two: Pair) -> None:
        for n in range(10):
            claims = await asyncio.gather(*(ledger.claim(two.job, f"t{n}") for ledger in (two.a, two.b)))
            [lease] = [claim for claim in claims if isinstance(claim, Lease)]
            [run] = [claim for claim in claims if isinstance(claim, Run)]
            assert lease.run == run

    story(tell)


def test_a_worker_that_looked_too_early_is_told_who_was_first(story: Story) -> None:
    """Between its look and its write another one began the run."""

    async def tell(two: Pair) -> None:
        early = two.ledger("b", documents=Early(two.documents))
        lease = await two.take(two.a)

        assert lease.run == await two.see(early)

    story(tell)


def test_of_two_that_take_over_at_the_same_time_one_gets_the_run(story: Story) -> None:
    """The tag lets one of the two writes pass."""

    async def tell(two: Pair) -> None:
        await two.take(two.ledger("gone"))
        two.now += 2 * MINUTE
        claims = await asyncio.gather(*(ledger.claim(two.job, "t") for ledger in (two.a, two.b)))

        assert [Lease, Run] == sorted((type(claim) for claim in claims), key=lambda kind: kind.__name__)

    story(tell)


def test_a_lease_that_has_run_out_is_taken_over_and_its_holder_is_fenced(story: Story) -> None:
    """Whatever the first holder still writes raises LostLease and changes nothing."""

    async def tell(two: Pair) -> None:
        slow = await two.take(two.a)
        await slow.checkpoint({"day": 1})
        two.now += MINUTE
        quick = await two.take(two.b)

        assert (False, "b", 2, {"day": 1}) == (quick.fresh, quick.run.owner, quick.run.attempt, quick.run.checkpoint)
        with pytest.raises(LostLease, match="a lost the lease of run 't': another worker goes on with it"):
            await slow.checkpoint({"day": 2})
        with pytest.raises(LostLease):
            await slow.end({}, "")
        assert slow.fault
        assert Later.FENCED == slow.fault.reason
        assert quick.run == await two.see(two.a)

    story(tell)


def test_a_worker_that_was_restarted_goes_on_with_its_run_at_once(story: Story) -> None:
    """A lease in its own name is a leftover; what the one before still writes is fenced all the same."""

    async def tell(two: Pair) -> None:
        before = await two.take(two.a)
        after = await two.take(two.ledger("a"))

        assert (False, 2) == (after.fresh, after.run.attempt)
        with pytest.raises(LostLease):
            await before.checkpoint({"day": 1})

    story(tell)


def test_attempts_without_progress_are_counted_until_they_are_exhausted(story: Story) -> None:
    """What kills its workers again and again is not tried for ever."""

    async def tell(two: Pair) -> None:
        for attempt in range(1, MOST_ATTEMPTS + 1):
            lease = await two.take(two.ledger("a"))
            assert (attempt, False) == (lease.run.attempt, lease.exhausted)

        assert (await two.take(two.ledger("a"))).exhausted

    story(tell)


def test_progress_begins_a_new_count_of_attempts(story: Story) -> None:
    """A checkpoint that moved is progress; one that says the same again is not."""

    async def tell(two: Pair) -> None:
        await two.take(two.a)
        lease = await two.take(two.a)
        await lease.checkpoint({"day": 1})
        assert 1 == lease.run.attempt

        lease = await two.take(two.a)
        await lease.checkpoint({"day": 1})
        assert 2 == lease.run.attempt

    story(tell)


def test_a_released_run_is_taken_at_once_and_as_the_same_attempt(story: Story) -> None:
    """Giving back is nobody's failure, however often it happens."""

    async def tell(two: Pair) -> None:
        for _ in range(MOST_ATTEMPTS):
            await (await two.take(two.a)).release()
            lease = await two.take(two.b)
            assert (1, "b") == (lease.run.attempt, lease.run.owner)
            await lease.release()

    story(tell)


@pytest.mark.parametrize("written", [False, True], ids=["not written", "written, the answer lost"])
def test_a_run_that_could_not_be_taken_was_not_attempted(story: Story, written: bool) -> None:
    """However often the ledger fails right then: nothing ran, so that nothing counts."""

    async def tell(two: Pair) -> None:
        await two.take(two.a)
        worker = two.ledger("a", documents=Failing(two.documents, MOST_ATTEMPTS, written=written))
        for _ in range(MOST_ATTEMPTS):
            with pytest.raises(Retry, match="down"):
                await worker.claim(two.job, "t")

        assert 2 == (await two.take(worker)).run.attempt

    story(tell)


def test_a_run_that_has_ended_is_never_taken_again(story: Story) -> None:
    """Its end stays as it was written, also when its lease is long over."""

    async def tell(two: Pair) -> None:
        await (await two.take(two.a, "good")).end({"blobs": 3}, "")
        await (await two.take(two.a, "bad")).end({"blobs": 1}, "no such day")
        ended, two.now = two.now, two.now + 10 * MINUTE

        good, bad = await two.see(two.b, "good"), await two.see(two.b, "bad")
        assert ("completed", {"blobs": 3}, "", ended) == (good.status, good.counts, good.reason, good.ended_at)
        assert ("failed", {"blobs": 1}, "no such day", ended) == (bad.status, bad.counts, bad.reason, bad.ended_at)

    story(tell)


def test_that_an_outcome_is_out_is_written_once(story: Story) -> None:
    """Before, it is open; the first to say so sets the time, and is told that it was."""

    async def tell(two: Pair) -> None:
        lease = await two.take(two.a)
        await lease.end({}, "")
        assert None is (await two.see(two.b)).published_at

        published = two.now = two.now + MINUTE
        assert await two.a.note_published(lease.run)
        two.now += MINUTE
        assert not await two.b.note_published(lease.run)

        assert published == (await two.see(two.b)).published_at

    story(tell)


def test_a_lease_is_renewed_while_it_is_kept(story: Story) -> None:
    """So that nobody takes over a run only because it is long."""

    async def tell(two: Pair) -> None:
        lease = await two.take(two.ledger("a", timedelta(seconds=0.3)))
        began = lease.run.lease_until
        async with lease.kept():
            two.now += timedelta(seconds=5)
            await until(lambda: lease.run.lease_until > began)
            await two.see(two.b)
        assert lease.run == await two.see(two.b)

    story(tell)


def test_a_kept_lease_learns_that_it_is_lost(story: Story) -> None:
    """Its fault tells the job's thread at its next step."""

    async def tell(two: Pair) -> None:
        lease = await two.take(two.ledger("a", timedelta(seconds=0.3)))
        two.now += MINUTE
        await two.take(two.b)  # before it is kept: a renewal that comes first would keep it from b
        async with lease.kept():
            await until(lambda: isinstance(lease.fault, LostLease))

    story(tell)


def test_a_short_outage_of_the_ledger_costs_no_lease(story: Story) -> None:
    """Renewing goes on; the tag tells whether anybody took over meanwhile."""

    async def tell(two: Pair) -> None:
        flaky = Failing(two.documents, times=0)
        lease = await two.take(two.ledger("a", timedelta(seconds=0.3), flaky))
        flaky.left, began = 3, lease.run.lease_until
        async with lease.kept():
            two.now += timedelta(seconds=5)
            await until(lambda: lease.run.lease_until > began)

        assert (0, None) == (flaky.left, lease.fault)

    story(tell)


def test_an_abandoned_lease_writes_nothing(story: Story) -> None:
    """A thread that cannot be ended must not go on behind the back of the next worker."""

    async def tell(two: Pair) -> None:
        lease = await two.take(two.a)
        lease.abandon(Retry(Later.STOPPING, "the process is ending"))

        with pytest.raises(Retry, match="stopping"):
            await lease.checkpoint({"day": 1})
        assert {} == (await two.see(two.b)).checkpoint

    story(tell)


@pytest.mark.parametrize("trigger", ["../../up", "a/b\\c?d#e", "Case", "case", "dots...", "ü" * 2000], ids=range(6))
def test_any_trigger_id_names_a_run_of_its_own(story: Story, trigger: str) -> None:
    """The document id is encoded, and the trigger is kept as it was."""

    async def tell(two: Pair) -> None:
        lease = await two.take(two.a, trigger)

        assert (document(trigger), trigger) == (lease.run.id, lease.run.trigger)
        assert lease.run == await two.see(two.b, trigger)

    story(tell)
