"""The command tells a person what is in the way."""

import json
import subprocess
import sys
from pathlib import Path


def proof(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "proof", *arguments], capture_output=True, text=True, check=False)


def test_without_a_stack_it_says_how_to_get_one(tmp_path: Path) -> None:
    """No endpoints file: exit code 2 and the command that writes it."""
    answer = proof("--endpoints", str(tmp_path / "none.json"))

    assert 2 == answer.returncode
    assert f"the proof stopped: {tmp_path / 'none.json'} does not exist: `make up` writes it" in answer.stderr


def test_a_broker_that_is_down_is_named(tmp_path: Path) -> None:
    """Nothing behind the addresses: exit code 2, the address, and what to do, instead of a traceback."""
    file = tmp_path / "endpoints.json"
    nobody = "http://127.0.0.1:9"
    file.write_text(
        json.dumps(
            {
                "amqp": "amqp://a:b@127.0.0.1:9/",
                "management": {"url": nobody, "user": "a", "password": "b"},
                "prometheus": nobody,
                "alertmanager": nobody,
                "blobs": {"connection_string": f"AccountName=a;AccountKey=a2V5;BlobEndpoint={nobody}/a;"},
                "cosmos": {"endpoint": nobody, "key": "a2V5", "database": "castiel"},
                "services": {},
                "boards": [],
                "overrides": {},
            }
        )
    )

    answer = proof("--endpoints", str(file))

    assert 2 == answer.returncode
    assert "127.0.0.1:9" in answer.stderr
    assert "Traceback" not in answer.stderr
