"""The server, asked as the node asks it. `python -m unittest` runs it."""

import json
import threading
import unittest
import urllib.error
import urllib.request

from my_function import serve


class MyFunctionTests(unittest.TestCase):
    def setUp(self) -> None:
        server = serve(0)  # any port that is free
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)

    def on_task(self, params: object) -> object:
        body = json.dumps({"task": {"task_id": "a", "params": params}, "event": {}}).encode()
        with urllib.request.urlopen(f"{self.url}/on-task", body, timeout=5) as response:
            return json.load(response)

    def test_health(self) -> None:
        with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:
            self.assertEqual(response.status, 200)

    def test_a_task(self) -> None:
        self.assertEqual(self.on_task({"name": "Ada"}), "Hello, Ada")

    def test_a_task_without_a_name_fails(self) -> None:
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.on_task({})
        self.assertEqual(caught.exception.code, 500)
        caught.exception.close()


if __name__ == "__main__":
    unittest.main()
