"""Programs under a real supervisord: started, awaited, restarted, and what is said of one that does not come up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra import supervision
from infra.processes import ProgramError, _Processes, run, stop
from infra.supervision import _Supervisors, ask, start, state_of
from tests.brokers import eventually
from tools.servers import free_ports, port_is_free

pytestmark = pytest.mark.servers

SERVE = "import http.server, os; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(os.environ['PORT']))"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    start(tmp_path)
    yield tmp_path
    _Supervisors().delete("", {"home": str(tmp_path)})
    assert "ABSENT" == state_of(tmp_path, "anything")[0]


def program(home: Path, code: str, **more: Any) -> dict[str, Any]:
    (port,) = free_ports(1)
    props = {
        "home": str(home),
        "name": "web",
        "command": [sys.executable, "-u", "-c", code],
        "env": {"PORT": str(port)},
        "secrets": {},
        "directory": str(home / "web"),
        "ready": f"http://127.0.0.1:{port}/",
        "stop_seconds": 5,
        "files": {},
    }
    return {**props, **more}


def test_a_program_is_ready_when_its_start_returns(home: Path) -> None:
    """It is found running afterwards, and gone after it was stopped."""
    props = program(home, SERVE)

    run(props)

    assert "RUNNING" == state_of(home, "web")[0]
    assert "web" == _Processes().read("web", props).id
    stop(str(home), "web")
    assert port_is_free(int(props["env"]["PORT"]))
    assert None is _Processes().read("web", props).id


def test_variables_and_files_arrive_as_they_are(home: Path) -> None:
    """Quotes, percent signs and semicolons mean something to supervisord and to a shell, and nothing to us."""
    odd = """%a;b=c, 'd' #e ;f "$g" `h`\n\\i'"""
    code = f"import os; print(os.environ['ODD'], open('file').read()); {SERVE}"
    run(program(home, code, secrets={"ODD": odd}, files={str(home / "web/file"): odd}))

    assert f"{odd} {odd}" in (home / "logs/web.log").read_text()
    assert [0o600] * 2 == [file.stat().st_mode & 0o777 for file in (home / "programs/web.env", home / "web/file")]


def test_a_changed_program_is_restarted_and_a_changed_file_is_seen(home: Path) -> None:
    props = program(home, SERVE)
    run(props)
    _, before = state_of(home, "web")

    (home / "programs/web.conf").write_text("[program:web]\ncommand = /bin/sleep 1\n")
    assert None is _Processes().read("web", props).id
    run(props)

    assert before != state_of(home, "web")[1]
    assert "web" == _Processes().read("web", props).id


def test_a_program_that_ends_at_once_is_told_with_its_last_words(home: Path) -> None:
    """It is not tried again behind the person's back."""
    with pytest.raises(ProgramError) as failure:
        run(program(home, "raise SystemExit('no such database: castiel')"))

    log = home / "logs/web.log"
    assert f"web ended as soon as it was started; {log} ends with:\nno such database: castiel" == str(failure.value)
    assert "ABSENT" == state_of(home, "web")[0]


def test_a_program_that_never_serves_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "READY_WITHIN", 2)

    with pytest.raises(ProgramError) as failure:
        run(program(home, "import time; time.sleep(60)"))

    assert f"web is not ready after 2 s; it said nothing (see {home / 'logs/web.log'})" == str(failure.value)


def test_the_stacks_passphrase_is_not_inherited(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs get what they need, not the environment of the person who typed `pulumi up`."""
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "for-this-test")
    other = home / "other"
    start(other)
    run(program(other, f"import os; print(sorted(os.environ)); {SERVE}"))

    assert "PULUMI" not in (other / "logs/web.log").read_text()
    _Supervisors().delete("", {"home": str(other)})


def test_a_crash_is_mended_by_the_supervisor(home: Path) -> None:
    props = program(home, SERVE)
    run(props)
    _, before = state_of(home, "web")

    ask(home, "signalProcess", "web", "KILL")

    eventually(lambda: state_of(home, "web")[1] not in (0, before))
