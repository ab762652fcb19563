"""The config: one YAML file, checked as a whole before anything starts."""

from scfd.config.checks import Address
from scfd.config.load import load
from scfd.config.nats import NatsTls, NatsTrigger
from scfd.config.values import (
    Adapter,
    Config,
    Control,
    Dev,
    DevMoox,
    DevNats,
    DevStream,
    Gateway,
    Heartbeat,
    HttpAdapter,
    Shutdown,
    System,
    TimerTrigger,
    Tls,
    Trigger,
)

__all__ = [
    "Adapter",
    "Address",
    "Config",
    "Control",
    "Dev",
    "DevMoox",
    "DevNats",
    "DevStream",
    "Gateway",
    "Heartbeat",
    "HttpAdapter",
    "NatsTls",
    "NatsTrigger",
    "Shutdown",
    "System",
    "TimerTrigger",
    "Tls",
    "Trigger",
    "load",
]
