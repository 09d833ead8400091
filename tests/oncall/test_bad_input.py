"""Everything that can be wrong around a command: one message that names the thing, the value and the next step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oncall.__main__ import main
from oncall.endpoints import BROKER, HOW, load
from oncall.trouble import Trouble
from tools import servers

OnCall = Callable[..., Any]


def refused(named: str | None, environ: dict[str, str]) -> str:
    with pytest.raises(Trouble) as caught:
        load(named, environ)
    return str(caught.value)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    """For this machine and for any other stack."""
    file = tmp_path / "endpoints.json"
    assert f"{file} does not exist: {HOW}" == refused(str(file), {})


def test_the_option_wins_over_the_variable_over_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is tried only where the one before it is not given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("oncall.endpoints.ROOT", tmp_path)
    assert refused("option", {"ONCALL_ENDPOINTS": "variable"}).startswith("option does not exist")
    assert refused(None, {"ONCALL_ENDPOINTS": "variable"}).startswith("variable does not exist")
    assert refused(None, {}).startswith(".local/endpoints.json does not exist")


def test_a_file_without_an_administrator_asks_for_one(tmp_path: Path) -> None:
    """A stack whose settings name none leaves the place empty; the broker would only say that nobody is refused."""
    file = tmp_path / "endpoints.json"
    nobody = {"url": "http://b:15672", "user": "", "password": ""}
    file.write_text(json.dumps({"amqp": "amqp://b:5672/%2F", "management": nobody}))

    with pytest.raises(Trouble, match=r"management names no user: .* write `user` and `password` of one who may look"):
        load(str(file), {}, BROKER)


def test_a_file_that_is_no_endpoints_names_every_fault(tmp_path: Path) -> None:
    """All that is missing or wrong is told at once, with no value that could be a secret."""
    file = tmp_path / "endpoints.json"
    file.write_text("{")
    assert refused(str(file), {}).startswith(f"{file} is not JSON (")
    file.write_text("[]")
    assert f"{file} holds no JSON object: {HOW}" == refused(str(file), {})
    file.write_text(json.dumps({"amqp": 7, "prometheus": "http://p", "overrides": {"rabbitmq.usage.prefetch": 0}}))
    assert [
        f"{file} has 6 problem(s):",
        "  amqp: Expected `str`, got `int`",
        "  management: Expected `object`, got `null`",
        "  alertmanager: Expected `str`, got `null`",
        "  cosmos: Expected `object`, got `null`",
        "  services: Expected `object`, got `null`",
        "  overrides: rabbitmq.usage.prefetch is 0: it is 1 to 300",
        f"  {HOW}",
    ] == refused(str(file), {}).splitlines()


def test_secrets_stay_out_of_what_is_printed(tmp_path: Path) -> None:
    """An endpoints object in a message or a traceback shows addresses and users only."""
    file = tmp_path / "endpoints.json"
    file.write_text(
        json.dumps(
            {
                "amqp": "amqp://admin:s3cret@127.0.0.1:5672/%2F",
                "management": {"url": "http://m", "user": "admin", "password": "s3cret"},
                "prometheus": "http://p",
                "alertmanager": "http://a",
                "cosmos": {"endpoint": "https://c", "key": "s3cret", "database": "castiel"},
                "services": {},
                "overrides": {},
            }
        )
    )
    endpoints = load(str(file), {})
    assert "s3cret" not in repr(endpoints)
    assert ("127.0.0.1:5672", "/") == (endpoints.broker, endpoints.vhost)


@pytest.mark.servers
@pytest.mark.broker
class TestWithServers:
    def test_a_wrong_password_over_amqp(self, oncall: OnCall, stack: Any, elsewhere: Callable[..., Path]) -> None:
        """The message names broker, user and file, and never a password."""
        host = stack.broker.url.partition("@")[2]
        file = elsewhere(amqp=f"amqp://admin:wr0ng@{host}")

        answer = oncall("trigger", "risk-snapshot-backfill", endpoints=file)

        assert 2 == answer.code
        assert (
            f"oncall: broker {host.partition('/')[0]} refuses user 'admin' (virtual host '/'): the password in {file}"
            " is not the broker's, or the user may not; `make up` writes it anew\n"
        ) == answer.err

    def test_a_wrong_password_at_the_management_api(
        self, oncall: OnCall, stack: Any, elsewhere: Callable[..., Path]
    ) -> None:
        """The same for the other door."""
        url = stack.broker.api.url
        file = elsewhere(management={"url": url, "user": "admin", "password": "wr0ng"})

        answer = oncall("status", endpoints=file)

        assert (
            2,
            (
                f"oncall: RabbitMQ's management API at {url} refuses us: the password of 'admin' in {file} is not the"
                " broker's: `make up` writes it anew\n"
            ),
        ) == (answer.code, answer.err)

    def test_a_broker_that_is_not_there(self, oncall: OnCall, elsewhere: Callable[..., Path]) -> None:
        """Over AMQP and over HTTP the message names the address and what starts it."""
        port = servers.free_ports(1)[0]

        answer = oncall("trigger", "risk-snapshot-backfill", endpoints=elsewhere(amqp=f"amqp://a:b@127.0.0.1:{port}/"))
        assert 2 == answer.code
        assert answer.err.startswith(f"oncall: broker 127.0.0.1:{port} does not answer (")
        assert answer.err.endswith("is it running? `make up` starts what is down\n")
        assert "b@" not in answer.err

        login = {"url": f"http://127.0.0.1:{port}", "user": "a", "password": "b"}
        answer = oncall("status", endpoints=elsewhere(management=login))
        assert (
            2,
            (
                f"oncall: RabbitMQ's management API at http://127.0.0.1:{port} does not answer (connection refused):"
                " is it running? `make up` starts what is down\n"
            ),
        ) == (answer.code, answer.err)

    def test_a_host_that_does_not_exist(self, oncall: OnCall, elsewhere: Callable[..., Path]) -> None:
        """A name that resolves to nothing is an expected failure too."""
        file = elsewhere(amqp="amqp://a:b@broker.invalid:5672/", prometheus="http://prometheus.invalid:9090")

        assert (
            "broker broker.invalid:5672 does not answer"
            in oncall("trigger", "risk-snapshot-backfill", endpoints=file).err
        )
        assert (
            "Prometheus at http://prometheus.invalid:9090 does not answer"
            in oncall("explain", "JobFailed", endpoints=file).err
        )

    def test_something_else_that_listens_there(
        self, oncall: OnCall, stack: Any, elsewhere: Callable[..., Path]
    ) -> None:
        """A server that does not speak the language is told apart from one that is down."""
        other = json.loads(stack.file.read_text())["alertmanager"]

        answer = oncall("explain", "JobFailed", endpoints=elsewhere(prometheus=other))

        assert (2, True) == (answer.code, answer.err.startswith(f"oncall: Prometheus at {other} answers 410")), (
            answer.err
        )

    def test_a_queue_that_does_not_exist(self, oncall: OnCall, stack: Any, elsewhere: Callable[..., Path]) -> None:
        """Of the catalog: the nearest name. On the broker: what creates it."""
        lake = stack.catalog.queue_of("lake").name
        wrong = oncall("dead", "list", lake[:-1])
        assert (2, f"oncall: queue {lake[:-1]!r} does not exist: did you mean {lake}?") == (
            wrong.code,
            wrong.err.partition("? ")[0] + "?",
        )
        file = elsewhere(overrides={"rabbitmq.usage.queue": "nobody_made_this"})
        absent = oncall("dead", "list", "nobody_made_this", endpoints=file)
        assert (
            2,
            f"oncall: queue nobody_made_this.dead does not exist on broker {stack.broker.url.partition('@')[2][:-4]}",
        ) == (
            absent.code,
            absent.err.partition(": `")[0],
        )

    def test_an_exchange_without_the_binding(self, oncall: OnCall, stack: Any) -> None:
        """A trigger that no queue takes was not published; it does not vanish in silence."""
        batch = stack.catalog.queue_of("batch")
        channel = stack.broker.channel()
        channel.queue_unbind(batch.name, stack.catalog.exchange.name, batch.keys[0])
        try:
            answer = oncall("trigger", "risk-snapshot-backfill")
        finally:
            channel.connection.close()
            stack.broker.prepare(stack.catalog)

        assert (
            2,
            (
                "oncall: exchange coder_events has no queue for 'workflow.job.trigger': `pulumi up` creates it;"
                " nothing was published\n"
            ),
        ) == (answer.code, answer.err)

    def test_a_ledger_that_does_not_exist(self, oncall: OnCall, stack: Any, elsewhere: Callable[..., Path]) -> None:
        """A container that nobody provisioned is named with what creates it."""
        account = json.loads(stack.file.read_text())["cosmos"]
        file = elsewhere(overrides={"cosmos_db.containers.batch_job_runs": "other_runs"})

        answer = oncall("runs", endpoints=file)

        words = f"ledger castiel/other_runs at {account['endpoint']} does not exist: `pulumi up` creates it"
        assert (2, f"oncall: {words}\n") == (answer.code, answer.err)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dead", "list", "--limit", "0"], "'0' is not a whole number above 0"),
        (["dead", "list", "--reason", "because"], "invalid choice: 'because'"),
        (["trigger", "risk-snapshot-backfill", "--from", "yesterday"], "'yesterday' is not a day such as 2025-03-31"),
        (["stats"], "invalid choice: 'stats'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was typed wrong is named, with how it is written."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert (2, True) == (ended.value.code, says in capsys.readouterr().err)
