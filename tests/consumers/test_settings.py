"""What a consumer process says of a wrong environment, to the letter."""

import pytest

from consumers.settings import SettingsError, load

GOOD = {
    "RABBITMQ_URL": "amqp://logging:sesame@broker.example:5672/%2F",
    "DATA_LAKE_CONNECTION_STRING": "AccountName=lake;AccountKey=a2V5;EndpointSuffix=core.windows.net",
    "COSMOS_DB_ENDPOINT": "https://cosmos.example:443",
    "COSMOS_DB_KEY": "a2V5",
}

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
            "  COSMOS_DB_KEY is not set: give the account's key"
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


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_told_together_with_the_next_step(case: str) -> None:
    """One message for all faults of one environment."""
    service, changes, message = FAULTS[case]

    with pytest.raises(SettingsError) as caught:
        load(service, {**GOOD, **changes})

    assert message == str(caught.value)
