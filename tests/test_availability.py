"""Whether the plugin can take events."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from scfd.status.readiness import Availability


class AvailabilityTests(SynchronousTestCase):
    def test_not_available_until_somebody_says_so(self) -> None:
        self.assertFalse(Availability().available)

    def test_every_watcher_hears_of_each_change_and_only_of_changes(self) -> None:
        availability = Availability()
        heard: list[tuple[str, bool]] = []
        availability.watch(lambda value: heard.append(("first", value)))
        availability.watch(lambda value: heard.append(("second", value)))
        for value in (False, True, True, False):
            availability.set(value)
        self.assertEqual(heard, [("first", True), ("second", True), ("first", False), ("second", False)])
        self.assertFalse(availability.available)
