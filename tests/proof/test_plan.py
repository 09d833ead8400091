"""Every message knows what it must become, by the bindings of the catalog at hand."""

import json
from datetime import UTC, datetime

from catalog import CATALOG, resolve
from consumers.verdicts import Never
from proof.plan import Message, plan

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
PLAN = plan(CATALOG, NOW)


def of_kind(kind: str) -> list[Message]:
    return [message for message in PLAN.messages if message.kind == kind]


def test_every_reason_for_a_dead_letter_occurs() -> None:
    """A reason that a person may meet in production has been seen to work here."""
    assert {reason.value for reason in Never} == set(PLAN.kinds()) - {"event", "duplicate"}


def test_a_duplicate_has_the_very_body_of_an_event_and_comes_after_it() -> None:
    """Exact repetition: same id, same bytes, same expectation."""
    seen: dict[str, Message] = {}
    for message in PLAN.messages:
        if message.kind == "event":
            seen[message.identity] = message
        if message.kind == "duplicate":
            assert seen[message.identity].body == message.body
            assert seen[message.identity].becomes == message.becomes

    assert len(of_kind("duplicate")) > 100


def test_a_conflict_shares_the_id_of_an_event_that_was_written_before() -> None:
    """Another body under a known id is published in a later wave, and changes nothing in the sinks."""
    events = {message.identity: message for message in of_kind("event")}
    for conflict in of_kind("conflict"):
        assert events[conflict.identity].body != conflict.body
        assert events[conflict.identity].wave < conflict.wave
        assert all(
            entry.place.startswith(f"{queue}.dead/{conflict.identity}/") for queue, entry in conflict.becomes.items()
        )


def test_a_message_is_expected_in_every_queue_its_key_is_bound_to() -> None:
    """Nothing is expected where no binding leads, nothing is forgotten where one does."""
    for message in PLAN.messages:
        assert {queue.name for queue in CATALOG.queues if message.key in queue.keys} == set(message.becomes)


def test_a_wrong_type_for_one_sink_is_still_written_by_another() -> None:
    """A score that is no number cannot be a Parquet double, but it can be audited."""
    (lake, audit), *_ = [
        (message.becomes["logging_data_lake"], message.becomes["logging_ml_audit"])
        for message in of_kind("wrong_type")
        if message.key == "risk.evaluated"
    ]

    assert {"reason": "wrong_type"} == lake.content
    assert "high" == audit.content["data"]["riskScore"]


def test_expectations_follow_a_stack_s_own_bindings() -> None:
    """A lake that also listens to predictions is expected to hold them."""
    wide = resolve(CATALOG, {"rabbitmq.data_lake.bindings": "risk.evaluated,ml.prediction.completed"})
    predictions = [message for message in plan(wide, NOW).messages if message.key == "ml.prediction.completed"]

    assert all("logging_data_lake" in message.becomes for message in predictions)
    assert any("/ml_inference_logs/" in message.becomes["logging_data_lake"].place for message in predictions)


def test_the_main_job_is_asked_last_and_for_the_whole_window() -> None:
    """The backfill reads everything that was written, so its trigger comes when all of it is."""
    trigger = json.loads(PLAN.backfill.body)["data"]

    assert "risk-snapshot-backfill" == trigger["job"]
    assert {"from": "2026-03-03", "to": "2026-03-09"} == trigger["metadata"]
    assert max(message.wave for message in PLAN.messages) == PLAN.backfill.wave
