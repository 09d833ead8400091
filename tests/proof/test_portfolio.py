"""The proof's input is plausible, complete and the same all day."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from statistics import mean

from catalog import CATALOG
from consumers.envelope import SYSTEM_TENANT
from proof.plan import plan
from proof.portfolio import TENANTS, TRIGGER, Window, events, tenant_id
from tests.catalog.test_contract import QUEUES

TODAY = date(2026, 3, 10)
MORNING, EVENING = datetime(2026, 3, 10, 6, tzinfo=UTC), datetime(2026, 3, 10, 22, tzinfo=UTC)

CONTRACT_KEYS = {key for _, _, keys in QUEUES.values() for key in keys}


def test_the_same_day_and_seed_give_the_same_events() -> None:
    """A second `make up` on a day publishes the same; another day or seed publishes other events."""
    assert events(TODAY) == events(TODAY)
    assert set() == {event["id"] for event in events(TODAY)} & {event["id"] for event in events(TODAY, seed=1)}
    assert set() == {event["id"] for event in events(TODAY)} & {
        event["id"] for event in events(TODAY + timedelta(days=1))
    }


def test_only_triggers_depend_on_the_hour() -> None:
    """Whoever asks again gets a new run of the job; everything else is known by its id."""
    morning, evening = plan(CATALOG, MORNING).messages, plan(CATALOG, EVENING).messages
    known = {message.identity for message in evening}
    changed = {message.key for message in morning if message.identity not in known}

    assert {TRIGGER} == changed
    assert len(morning) == len(evening)


def test_every_key_and_tenant_occurs_in_at_least_2000_events() -> None:
    """All routing keys that producers publish, at least three tenants, at least 2,000 different events."""
    messages = plan(CATALOG, MORNING).messages
    tenants = {event["tenantId"] for event in events(TODAY)}

    assert CONTRACT_KEYS == {message.key for message in messages if message.kind == "event"}
    assert {tenant_id(name) for name in TENANTS} == tenants
    assert len(tenants) >= 3
    assert SYSTEM_TENANT not in tenants
    assert len(events(TODAY)) >= 2000


def test_ids_are_unique() -> None:
    """No two events of the portfolio share an id."""
    ids = [event["id"] for event in events(TODAY)]

    assert len(ids) == len(set(ids))


def test_events_fill_the_seven_full_days_before_today() -> None:
    """Every day of the window has events, no other day has."""
    days = {datetime.fromisoformat(event["timestamp"]).date() for event in events(TODAY)}

    assert set(Window.before(TODAY).days()) == days
    assert 7 == len(days)
    assert TODAY not in days


def test_risk_drifts_from_day_to_day_instead_of_jumping() -> None:
    """Scores stay within 0..1, move every day, and seldom by more than a few hundredths."""
    scores = defaultdict(list)
    for event in events(TODAY):
        if event["type"] == "risk.evaluated":
            scores[event["data"]["opportunityId"]].append(event["data"]["riskScore"])
    steps = [abs(after - before) for series in scores.values() for before, after in pairwise(series)]

    assert {7} == {len(series) for series in scores.values()}
    assert all(0 <= score <= 1 for series in scores.values() for score in series)
    assert 0.005 < mean(steps) < 0.03
    assert max(steps) < 0.1
