"""
The config: one YAML file, checked as a whole before anything starts.

`values` and `nats` have every key with its check and default; the rest reads, checks and words mistakes.
"""

from scfd.config.checks import Address
from scfd.config.load import default_state_dir, load
from scfd.config.nats import NatsSettings, NatsTlsSettings
from scfd.config.values import (
    AdapterSettings,
    AdminSettings,
    Config,
    DevControlPlaneSettings,
    DevNatsSettings,
    DevSettings,
    DevStreamSettings,
    GatewaySettings,
    HeartbeatSettings,
    HttpAdapterSettings,
    LogSettings,
    ShutdownSettings,
    SystemSettings,
    TimerSettings,
    TlsSettings,
    TriggerSettings,
)

__all__ = [
    "AdapterSettings",
    "Address",
    "AdminSettings",
    "Config",
    "DevControlPlaneSettings",
    "DevNatsSettings",
    "DevSettings",
    "DevStreamSettings",
    "GatewaySettings",
    "HeartbeatSettings",
    "HttpAdapterSettings",
    "LogSettings",
    "NatsSettings",
    "NatsTlsSettings",
    "ShutdownSettings",
    "SystemSettings",
    "TimerSettings",
    "TlsSettings",
    "TriggerSettings",
    "default_state_dir",
    "load",
]
