"""What tells one dead letter from another."""

import hashlib
import json

import pytest

from consumers.dead import identity
from consumers.events import MAX_DEPTH


def test_a_dead_letter_bears_the_id_of_its_event() -> None:
    """So that the same event, rejected twice, is one letter for a person."""
    assert identity(b'{"id": "a", "type": 7}') == "a"


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": ',
        b"\xff\xfe",
        b'{"id": "\xff"}',
        b'{"id": 7}',
        b'{"id": ""}',
        b"[]",
        json.dumps({"id": "x" * 256}).encode(),
        b'{"id": ' + b"[" * 100_000,
        b'{"id": "a", "data": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
    ],
    ids=[
        "truncated",
        "no text",
        "an id that is no text",
        "a number",
        "empty",
        "no object",
        "longer than AMQP allows",
        "nested",
        "nested deeper than is taken",
    ],
)
def test_a_body_without_a_usable_id_bears_its_hash(body: bytes) -> None:
    """Two letters that name no event are told apart by what they hold."""
    assert f"sha256:{hashlib.sha256(body).hexdigest()}" == identity(body)
