"""Tests for the control plane of scfd.testing, which are those of the development one."""

from __future__ import annotations

from typing import Any

from scfd.control_plane.client import ControlPlaneClient
from scfd.control_plane.signing import Signer
from scfd.dev.state import ControlPlaneState
from scfd.testing.control_plane import URL, ControlPlane
from tests.control_plane_contract import ControlPlaneContract
from tests.virtual import VirtualTestCase


class MemoryControlPlaneTests(ControlPlaneContract, VirtualTestCase):
    def connect(
        self, state: ControlPlaneState, protocol: str, keys: Signer | None
    ) -> tuple[ControlPlaneClient, str]:
        http: Any = ControlPlane(state, protocol, keys, self.reactor)
        return ControlPlaneClient(http, self.reactor, keys), URL
