"""What a consumer process says of a wrong environment, to the letter."""

from pathlib import Path

import pytest

from consumers.settings import SettingsError, load

LAKE = "AccountName=lake;AccountKey=a2V5;EndpointSuffix=core.windows.net"
GOOD = {
    "RABBITMQ_URL": "amqp://logging:sesame@broker.example:5672/%2F",
    "DATA_LAKE_CONNECTION_STRING": LAKE,
    "COSMOS_DB_ENDPOINT": "https://cosmos.example:443",
    "COSMOS_DB_KEY": "a2V5",
}

MOUNTED = {
    "RABBITMQ_URL": "amqp://broker.example:5672/%2F",
    "RABBITMQ_CREDENTIALS": "rabbitmq",
    "DATA_LAKE_CONNECTION_STRING": "",
    "DATA_LAKE_CONNECTION_STRING_FILE": "lake",
    "COSMOS_DB_KEY": "",
    "COSMOS_DB_KEY_FILE": "cosmos",
    "METRICS_TOKEN_FILE": "token",
}
IDENTITY = {
    "DATA_LAKE_CONNECTION_STRING": "",
    "DATA_LAKE_ACCOUNT": "https://lake.blob.core.windows.net",
    "COSMOS_DB_KEY": "",
    "AZURE_CLIENT_ID": "client",
    "AZURE_TENANT_ID": "tenant",
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
}

NO_PLACE = (
    "has no host, a wrong port, or an @ too many "
    "(in user, password and vhost write / as %2F, ? as %3F, # as %23, @ as %40)"
)

FAULTS: dict[str, tuple[str, dict[str, str], str]] = {
    "an unknown service": (
        "loging",
        {},
        "service 'loging' does not exist: there are analytics-service, logging, risk-analytics",
    ),
    "no broker": (
        "logging",
        {"RABBITMQ_URL": ""},
        (
            "the environment of logging has 1 problem:\n"
            "  RABBITMQ_URL is not set: give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        ),
    ),
    "a broker over HTTP": (
        "logging",
        {"RABBITMQ_URL": "http://u:p@broker.example:15672"},
        (
            "the environment of logging has 1 problem:\n"
            "  RABBITMQ_URL points at http://broker.example: give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        ),
    ),
    "a port that is none": (
        "logging",
        {"PORT": "70000"},
        "the environment of logging has 1 problem:\n  PORT is '70000': give a port from 1 to 65535",
    ),
    "digits that make no number, beside another fault": (
        "risk-analytics",
        {
            "PORT": "²",
            "DELETION_COST": "on",
            "POD_NAMESPACE": "bi-risk",
            "POD_NAME": "risk-analytics-1",
            "KUBERNETES_SERVICE_HOST": "10.96.0.1",
            "KUBERNETES_SERVICE_PORT": "https",
        },
        (
            "the environment of risk-analytics has 2 problems:\n"
            "  PORT is '²': give a port from 1 to 65535\n"
            "  KUBERNETES_SERVICE_PORT is 'https': give a port from 1 to 65535"
        ),
    ),
    "what cannot be read of any address": (
        "risk-analytics",
        {
            "RABBITMQ_URL": "amqp://logging:sesame@[::1",
            "DATA_LAKE_CONNECTION_STRING": "AccountName=lake;AccountKey=sesame",
            "COSMOS_DB_ENDPOINT": "https://[::1",
            "COSMOS_DB_KEY": "sesame",
        },
        (
            "the environment of risk-analytics has 4 problems:\n"
            f"  RABBITMQ_URL {NO_PLACE}: give amqp://USER:PASSWORD@HOST:PORT/VHOST\n"
            "  DATA_LAKE_CONNECTION_STRING has faults: "
            "AccountKey is not base64: copy it again, with the `=` at its end\n"
            "  COSMOS_DB_ENDPOINT is no address (not shown: it may be secret): give the account's https:// address\n"
            "  COSMOS_DB_KEY is not base64: copy it again, with the `=` at its end"
        ),
    ),
    "a password that ends the address": (
        "logging",
        {"RABBITMQ_URL": "amqp://logging:sesame/x@broker.example:5672/%2F"},
        (
            "the environment of logging has 1 problem:\n"
            f"  RABBITMQ_URL {NO_PLACE}: give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        ),
    ),
    "a password that ends the address, with an @ of its own": (
        "logging",
        {"RABBITMQ_URL": "amqp://logging:p@ss?sesame=1@broker.example:5672/%2F"},
        (
            "the environment of logging has 1 problem:\n"
            f"  RABBITMQ_URL {NO_PLACE}: give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        ),
    ),
    "a user without a password": (
        "logging",
        {"RABBITMQ_URL": "amqp://logging@broker.example:5672/%2F"},
        (
            "the environment of logging has 1 problem:\n"
            "  RABBITMQ_URL has a user without a password: give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        ),
    ),
    "an option that no reader expects": (
        "logging",
        {"RABBITMQ_URL": "amqp://logging:sesame@broker.example:5672/%2F?ssl_options=[1]"},
        (
            "the environment of logging has 1 problem:\n"
            "  RABBITMQ_URL has a wrong option (of ssl_options): "
            "give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        ),
    ),
    "secrets where addresses should be": (
        "risk-analytics",
        {
            **IDENTITY,
            "DATA_LAKE_ACCOUNT": "AccountName=lake;AccountKey=c2VzYW1l",
            "COSMOS_DB_ENDPOINT": "AccountEndpoint=https://cosmos.example:443/;AccountKey=c2VzYW1l;",
        },
        (
            "the environment of risk-analytics has 2 problems:\n"
            "  DATA_LAKE_ACCOUNT has faults: "
            "the blob endpoint is no address (not shown: it may be secret): give an address that begins with https://\n"
            "  COSMOS_DB_ENDPOINT is no address (not shown: it may be secret): give the account's https:// address"
        ),
    ),
    "keys with a blank of another alphabet, and ports that are none": (
        "risk-analytics",
        {
            "DATA_LAKE_CONNECTION_STRING": "AccountName=lake;AccountKey=a2V5\u00a0x;BlobEndpoint=https://lake:99999",
            "COSMOS_DB_ENDPOINT": "https://cosmos.example:https/",
            "COSMOS_DB_KEY": "a2V5\u00a0x",
        },
        (
            "the environment of risk-analytics has 3 problems:\n"
            "  DATA_LAKE_CONNECTION_STRING has faults: "
            "AccountKey is not base64: copy it again, with the `=` at its end; "
            "the blob endpoint is 'https://lake:99999': give an address that begins with https://\n"
            "  COSMOS_DB_ENDPOINT is no address (not shown: it may be secret): give the account's https:// address\n"
            "  COSMOS_DB_KEY is not base64: copy it again, with the `=` at its end"
        ),
    ),
    "a token that no header can carry": (
        "logging",
        {"METRICS_TOKEN": "sesame\udcff"},
        (
            "the environment of logging has 1 problem:\n"
            "  METRICS_TOKEN is no bearer token: give letters, digits and -._~+/= only"
        ),
    ),
    "a broker at a port that is none": (
        "logging",
        {"RABBITMQ_URL": "amqp://logging:sesame@broker.example:0/%2F"},
        (
            "the environment of logging has 1 problem:\n"
            f"  RABBITMQ_URL {NO_PLACE}: give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        ),
    ),
    "an option that the client does not have": (
        "logging",
        {"RABBITMQ_URL": "amqp://logging:sesame@broker.example:5672/%2F?hartbeat=10"},
        (
            "the environment of logging has 1 problem:\n"
            "  RABBITMQ_URL has a wrong option (Unknown URL parameter: 'hartbeat'): "
            "give amqp://USER:PASSWORD@HOST:PORT/VHOST"
        ),
    ),
    "an address of the lake that is none": (
        "logging",
        {**IDENTITY, "DATA_LAKE_ACCOUNT": "lake"},
        (
            "the environment of logging has 1 problem:\n"
            "  DATA_LAKE_ACCOUNT has faults: the blob endpoint is 'lake': give an address that begins with https://"
        ),
    ),
    "no lake": (
        "logging",
        {"DATA_LAKE_CONNECTION_STRING": ""},
        (
            "the environment of logging has 1 problem:\n"
            "  DATA_LAKE_CONNECTION_STRING is not set: give the storage account's connection string"
        ),
    ),
    "no document store": (
        "analytics-service",
        {"COSMOS_DB_ENDPOINT": "cosmos.example", "COSMOS_DB_KEY": ""},
        (
            "the environment of analytics-service has 2 problems:\n"
            "  COSMOS_DB_ENDPOINT is 'cosmos.example': give the account's https:// address\n"
            "  COSMOS_DB_KEY is not set: give the account's key, or a workload identity"
        ),
    ),
    "a user beside a folder of credentials": (
        "logging",
        {"RABBITMQ_CREDENTIALS": "."},
        (
            "the environment of logging has 3 problems:\n"
            "  RABBITMQ_URL points with a user at amqp://broker.example: give amqp://HOST:PORT/VHOST\n"
            "  RABBITMQ_CREDENTIALS names what gives no secret: "
            "username cannot be read (No such file or directory): mount the one that holds it\n"
            "  RABBITMQ_CREDENTIALS names what gives no secret: "
            "password cannot be read (No such file or directory): mount the one that holds it"
        ),
    ),
    "no secret where files should hold it": (
        "risk-analytics",
        {**MOUNTED, "RABBITMQ_CREDENTIALS": ""},
        (
            "the environment of risk-analytics has 4 problems:\n"
            "  RABBITMQ_URL points at amqp://broker.example: give amqp://USER:PASSWORD@HOST:PORT/VHOST\n"
            "  METRICS_TOKEN_FILE names what gives no secret: "
            "token cannot be read (No such file or directory): mount the one that holds it\n"
            "  DATA_LAKE_CONNECTION_STRING_FILE names what gives no secret: "
            "lake cannot be read (No such file or directory): mount the one that holds it\n"
            "  COSMOS_DB_KEY_FILE names what gives no secret: "
            "cosmos cannot be read (No such file or directory): mount the one that holds it"
        ),
    ),
    "an account without an identity": (
        "risk-analytics",
        {**IDENTITY, "AZURE_CLIENT_ID": "", "AZURE_TENANT_ID": ""},
        (
            "the environment of risk-analytics has 2 problems:\n"
            "  DATA_LAKE_ACCOUNT needs a workload identity, without AZURE_CLIENT_ID, AZURE_TENANT_ID: "
            "label the pod azure.workload.identity/use=true, and the webhook sets it\n"
            "  COSMOS_DB_KEY is not set: give the account's key, or a workload identity"
        ),
    ),
    "a pod that does not know itself": (
        "risk-analytics",
        {"DELETION_COST": "on", "POD_NAME": "risk-analytics-1", "KUBERNETES_SERVICE_HOST": "10.96.0.1"},
        (
            "the environment of risk-analytics has 1 problem:\n"
            "  DELETION_COST is on, without POD_NAMESPACE, KUBERNETES_SERVICE_PORT: it is for a pod that knows its name"
        ),
    ),
    "two ways to the lake": (
        "logging",
        {"DATA_LAKE_ACCOUNT": "https://lake.blob.core.windows.net"},
        (
            "the environment of logging has 1 problem:\n"
            "  DATA_LAKE_ACCOUNT and DATA_LAKE_CONNECTION_STRING are both set: give one of them"
        ),
    ),
    "several at once": (
        "risk-analytics",
        {"SCHEDULER": "yes", "RABBITMQ_BATCH_JOBS_PREFETCH": "0", "PORT": "http"},
        (
            "the environment of risk-analytics has 3 problems:\n"
            "  rabbitmq.batch_jobs.prefetch is 0: it is 1 to 5 (a higher one lets a long job block others)\n"
            "  PORT is 'http': give a port from 1 to 65535\n"
            "  SCHEDULER is 'yes': it is on or off"
        ),
    ),
    "a prefetch in words": (
        "logging",
        {"RABBITMQ_ML_AUDIT_PREFETCH": "ten"},
        "the environment of logging has 1 problem:\n  rabbitmq.ml_audit.prefetch is 'ten': give a whole number",
    ),
}


def test_a_good_environment_is_read() -> None:
    """Defaults come from the catalog, and secrets stay out of the text form."""
    settings = load("logging", GOOD)

    assert ("127.0.0.1", 3014) == (settings.host, settings.port)
    assert "sesame" not in repr(settings)
    assert "a2V5" not in repr(settings)


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cluster mounts them, with or without a line end; an address without a user goes with a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rabbitmq").mkdir()
    for name, text in {"rabbitmq/username": "logging-2", "rabbitmq/password": "p@s:s/w%rd\n"}.items():
        (tmp_path / name).write_text(text)
    for name, text in {"lake": LAKE, "cosmos": "Y29zbW9z", "token": "a-token"}.items():
        (tmp_path / name).write_text(f"{text}\n")

    settings = load("risk-analytics", {**GOOD, **MOUNTED})
    login = settings.broker.parameters().credentials

    assert ("logging-2", "p@s:s/w%rd") == (login.username, login.password)
    assert settings.lake
    assert ("lake", "a2V5") == (settings.lake.name, settings.lake.key)
    assert "Y29zbW9z" == settings.cosmos_key
    assert "a-token" == settings.metrics_token


def test_an_empty_file_is_no_secret(tmp_path: Path) -> None:
    """One fault, and not a second one that says the same."""
    (tmp_path / "lake").write_text("\n")

    with pytest.raises(SettingsError) as caught:
        load("logging", {**GOOD, "DATA_LAKE_CONNECTION_STRING_FILE": str(tmp_path / "lake")})

    assert (
        "the environment of logging has 1 problem:\n"
        f"  DATA_LAKE_CONNECTION_STRING_FILE names what gives no secret: {tmp_path}/lake is empty: "
        "mount the one that holds it"
    ) == str(caught.value)


def test_a_workload_identity_needs_no_secret() -> None:
    """The address of the account is enough where the pod has an identity."""
    settings = load("risk-analytics", {**GOOD, **IDENTITY})

    assert ("lake", "https://lake.blob.core.windows.net", "", "") == settings.lake
    assert "" == settings.cosmos_key


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_told_together_with_the_next_step(case: str) -> None:
    """One message for all faults of one environment."""
    service, changes, message = FAULTS[case]

    with pytest.raises(SettingsError) as caught:
        load(service, {**GOOD, **changes})

    assert message == str(caught.value)
