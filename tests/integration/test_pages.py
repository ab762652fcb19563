"""
The page of a node and that of the development control plane, in a real browser.

``python -m tests.integration.test_pages FOLDER`` puts pictures of both into a folder.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.daemon import Daemon, free_ports
from tests.integration.nats_traffic import connect
from tests.integration.test_operating import CONFIG, PLUGIN, TOKEN

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
#: Width and height of a desktop's window and of a small phone's.
WIDE, PHONE = (1280, 900), (375, 700)
#: Seconds that something may take to appear.
PATIENCE = 20.0


class Browser:
    """Chromium without a window, driven from a thread."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))

    def resize(self, size: tuple[int, int], dark: bool = False) -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def find(self, css: str, text: str = "") -> Any:
        """The first element that is seen, with a text in it; None when there is none."""
        found = self.driver.find_elements(By.CSS_SELECTOR, css)
        return next((one for one in found if one.is_displayed() and text in one.text), None)

    def wait(self, css: str, text: str = "") -> Any:
        return self.until(lambda: self.find(css, text), f"{css} {text!r}")

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except Exception as error:  # an element that was replaced just now
                what = f"{what}: {type(error).__name__}"
            time.sleep(0.05)
        text = self.driver.find_element(By.TAG_NAME, "body").text
        raise AssertionError(f"{what}: not in {PATIENCE} s; the page says:\n{text}")

    def press(self, label: str) -> None:
        """Press a button by the keyboard."""

        def press() -> bool:
            button = self.driver.find_element(By.CSS_SELECTOR, f'button[aria-label="{label}"]')
            button.send_keys(Keys.ENTER)
            return True

        self.until(press, f"the button {label!r}")

    def confirm(self) -> None:
        self.wait("dialog[open] #confirm-yes").send_keys(Keys.ENTER)

    def mistakes(self) -> list[str]:
        """What the browser has complained of, such as a refused script; not that a token was asked for."""
        lines = [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]
        return [line for line in lines if "401 (Unauthorized)" not in line]

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        script = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
        return int(self.driver.execute_script(script))


class PagesTests(TestCase):
    timeout = 180
    if CHROMIUM is None or DRIVER is None:
        skip = "chromium and chromedriver are not installed (Debian: chromium chromium-driver)"

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "tasks.yaml").write_text("- {task_id: t1}\n- {task_id: a-task-with-a-long-name-}\n")
        names = ("gateway", "admin", "plugin", "control_plane", "nats")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        config = CONFIG.format(python=sys.executable, script=PLUGIN, token=TOKEN, **self.ports)
        self.daemon = Daemon(config, self.folder)
        self.addCleanup(self.daemon.clean_up)
        self.browser = Browser()
        self.addCleanup(self.browser.driver.quit)

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}/"

    async def publish(self) -> None:
        client = await connect(f"nats://127.0.0.1:{self.ports['nats']}")
        await client.jetstream().publish("s.x", b'{"price": 7}')
        await client.close()

    def test_pages(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.look())

    async def look(self) -> None:
        self.daemon.start()
        await self.daemon.says("consuming s")
        await deferToThread(self.log_in)
        for size in (WIDE, PHONE):
            await deferToThread(self.fire_and_pause, size)
        (self.folder / "broken").touch()
        await Deferred.fromFuture(asyncio.ensure_future(self.publish()))
        await deferToThread(self.read_a_failure)
        (self.folder / "broken").unlink()
        await deferToThread(self.replay_a_letter)
        await deferToThread(self.look_at_the_control_plane)
        await deferToThread(self.drain)
        self.assertEqual(await self.daemon.end(), 0)
        await deferToThread(self.browser.wait, "#connection", "does not respond")

    def log_in(self) -> None:
        browser = self.browser
        browser.driver.get(self.url("admin"))
        browser.wait("#token").send_keys("wrong", Keys.ENTER)
        browser.wait("#login-mistake", "not right")
        browser.wait("#token").send_keys(TOKEN, Keys.ENTER)
        browser.wait("#state", "ready")
        browser.wait("#connection", "live")

    def fire_and_pause(self, size: tuple[int, int]) -> None:
        """What is done shows without the page being loaded again."""
        browser = self.browser
        browser.resize(size)
        browser.driver.execute_script("window.sameAsBefore = true")
        before = self.fired()
        browser.press("Fire nightly")
        browser.confirm()
        browser.until(lambda: self.fired() > before, "the event that was fired")
        browser.press("Pause every-second")
        browser.confirm()
        browser.wait("#problems li", "pause of every-second")
        browser.wait("#triggers", "paused")
        browser.press("Resume every-second")
        browser.until(lambda: not browser.find("#problems li", "pause of"), "no pause any more")
        self.assertEqual(browser.overflow(), 0)
        self.assertTrue(browser.driver.execute_script("return window.sameAsBefore"))

    def fired(self) -> int:
        events = '#events button[aria-label$="of nightly"]'
        return len(self.browser.driver.find_elements(By.CSS_SELECTOR, events))

    def read_a_failure(self) -> None:
        browser = self.browser
        browser.wait("#letters", "queue")

        def open_it() -> bool:
            browser.find("#events tr", "failed").find_element(By.CSS_SELECTOR, "button").send_keys(Keys.ENTER)
            return True

        browser.until(open_it, "an event that failed")
        browser.wait("dialog[open] #event-body", "HTTP status 500")
        self.assertEqual(browser.overflow(), 0)
        browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        browser.until(lambda: not browser.find("dialog[open]"), "the dialog is closed")

    def replay_a_letter(self) -> None:
        browser = self.browser
        browser.press("Replay letter 1")
        browser.confirm()
        browser.wait("#letters", "there are none")
        self.assertEqual(browser.mistakes(), [])

    def look_at_the_control_plane(self) -> None:
        browser = self.browser
        browser.wait("#control-plane-link").send_keys(Keys.ENTER)
        browser.until(lambda: browser.driver.current_url == self.url("control_plane"), "the other page")
        for size in (WIDE, PHONE):
            browser.resize(size)
            browser.wait("#nodes", "node-1")
            browser.wait("#results time", "ago")
            self.assertEqual(browser.overflow(), 0)
        results, faults = (browser.find(f"#{name}-title").location["y"] for name in ("results", "faults"))
        self.assertLess(results, faults)
        self.assertEqual(browser.mistakes(), [])
        browser.wait("#node-link").send_keys(Keys.ENTER)
        browser.wait("#state", "ready")

    def drain(self) -> None:
        browser = self.browser
        browser.wait("#drain").send_keys(Keys.ENTER)
        browser.confirm()


def take_pictures(folder: Path) -> None:
    """Of a node that runs by ``make run``."""
    browser = Browser()
    for name, url in (("node", "http://127.0.0.1:9002/"), ("control-plane", "http://127.0.0.1:18202/")):
        for kind, size, dark in (("", (1200, 1000), False), ("-phone", (375, 800), True)):
            browser.resize(size, dark)
            browser.driver.get(url)
            browser.wait("#connection", "live")
            time.sleep(5)  # some events
            browser.driver.save_screenshot(str(folder / f"{name}{kind}.png"))
    browser.driver.quit()


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]))
