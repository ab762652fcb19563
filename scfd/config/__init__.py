"""
The config: one YAML file, checked as a whole before anything starts.

`values` and `nats` have every key with its check and default; the rest reads, checks and words mistakes.
"""

from scfd.config.checks import Address as Address
from scfd.config.load import default_state_dir as default_state_dir
from scfd.config.load import load as load
from scfd.config.nats import NatsSettings as NatsSettings
from scfd.config.nats import NatsTlsSettings as NatsTlsSettings
from scfd.config.values import AdapterSettings as AdapterSettings
from scfd.config.values import AdminSettings as AdminSettings
from scfd.config.values import Config as Config
from scfd.config.values import DevControlPlaneSettings as DevControlPlaneSettings
from scfd.config.values import DevNatsSettings as DevNatsSettings
from scfd.config.values import DevSettings as DevSettings
from scfd.config.values import DevStreamSettings as DevStreamSettings
from scfd.config.values import GatewaySettings as GatewaySettings
from scfd.config.values import HeartbeatSettings as HeartbeatSettings
from scfd.config.values import HttpAdapterSettings as HttpAdapterSettings
from scfd.config.values import LogSettings as LogSettings
from scfd.config.values import ShutdownSettings as ShutdownSettings
from scfd.config.values import SystemSettings as SystemSettings
from scfd.config.values import TimerSettings as TimerSettings
from scfd.config.values import TlsSettings as TlsSettings
from scfd.config.values import TriggerSettings as TriggerSettings
