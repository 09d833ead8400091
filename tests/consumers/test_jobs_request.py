"""What a trigger asks for, and what is wrong with one that can never run."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from catalog import CATALOG
from consumers import jobs
from consumers.verdicts import Never, Reject
from tests.runs import Platform, ScriptedJob, trigger
from tests.stories import run

WRONG = {
    "an unknown job": ({"job": "risk-snapshot"}, 'data.job is "risk-snapshot": there are risk-snapshot-backfill'),
    "no job": ({"job": ...}, "data.job is null: give the name of a job"),
    "a number as the job": ({"job": 7}, "data.job is 7: give the name of a job"),
    "a list as metadata": ({"metadata": ["x"]}, 'data.metadata is ["x"]: give an object'),
    "no day": (
        {"metadata": {"from": "yesterday", "to": 20260101}},
        (
            'data.metadata.from is "yesterday": give a day such as 2026-01-31;'
            " data.metadata.to is 20260101: give a day such as 2026-01-31"
        ),
    ),
    "no day of ours": (
        {"metadata": {"from": "0202-01-31", "to": "9999-12-31T23:00:00-05:00"}},
        (
            'data.metadata.from is "0202-01-31": give a day such as 2026-01-31;'
            ' data.metadata.to is "9999-12-31T23:00:00-05:00": give a day such as 2026-01-31'
        ),
    ),
    "days the wrong way round": (
        {"metadata": {"from": "2026-01-09", "to": "2026-01-02"}},
        "data.metadata.from is 2026-01-09, after data.metadata.to, 2026-01-02: swap them",
    ),
    "tenants of many kinds": (
        {"metadata": {"tenantId": 5, "tenantIds": [], "industryIds": "retail"}},
        (
            "data.metadata.tenantId is 5: give a text;"
            " data.metadata.tenantIds is []: give a list of at least one text, or leave it out for all;"
            ' data.metadata.industryIds is "retail": give a list of at least one text, or leave it out for all'
        ),
    ),
    "everything at once": (
        {"job": None, "metadata": {"period": "2026-13", "schedule": {"a": "long " * 20}}},
        (
            "data.job is null: give the name of a job; "
            'data.metadata.period is "2026-13": give a month such as 2026-01; '
            'data.metadata.schedule is {"a":"long long long long long long long long long long lon…: give a text'
        ),
    ),
}


@pytest.mark.parametrize(("changes", "detail"), WRONG.values(), ids=WRONG)
def test_a_trigger_that_can_never_run_is_refused_with_everything_that_is_wrong(
    job: ScriptedJob, changes: dict[str, Any], detail: str
) -> None:
    """One sentence names field, value and what to give; nothing is written."""

    async def story() -> None:
        platform = Platform()
        with pytest.raises(Reject) as refused:
            await platform.worker().handle(trigger(**changes))
        reason = Never.UNKNOWN_JOB if "there are" in detail else Never.WRONG_TYPE
        assert (reason, detail) == (refused.value.reason, refused.value.detail)
        assert 0 == platform.documents.written

    run(story())
    assert 0 == job.begun


def test_what_is_asked_for_reaches_the_job() -> None:
    """Days as dates, also where they come with a time of day; both ways of naming tenants; null is nothing."""
    metadata = {
        "from": "2026-01-02T23:30:00-05:00",
        "to": "2026-01-09",
        "tenantId": "acme",
        "tenantIds": ["globex"],
        "period": None,
        "more": 1,
    }

    request = jobs.read(trigger(metadata=metadata), CATALOG)

    assert (date(2026, 1, 3), date(2026, 1, 9)) == (request.first, request.last)
    assert {"acme", "globex"} == request.tenants
