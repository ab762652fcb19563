"""
What browsers are shown: the page of a node, and that of the control plane for development.

Files as they are: no build step, nothing from other hosts. What both pages share is in ``style.css`` and
``common.js``.
"""

from __future__ import annotations

from importlib.resources import files

from twisted.web.http_headers import Headers

from scfd.web import Response, Routes, route

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageRoutes(Routes):
    """
    A page at ``/``, and its parts.

    :cvar page_name: of its files in this package.
    """

    page_name = ""

    @route("GET HEAD", "/")
    def page(self, headers: Headers, body: bytes) -> Response:
        return _file(f"{self.page_name}.html")

    @route("GET", "/page.js")
    def script(self, headers: Headers, body: bytes) -> Response:
        return _file(f"{self.page_name}.js")

    @route("GET", "/common.js")
    def common_script(self, headers: Headers, body: bytes) -> Response:
        return _file("common.js")

    @route("GET", "/style.css")
    def style(self, headers: Headers, body: bytes) -> Response:
        return _file("style.css")


def _file(name: str) -> Response:
    kind = _TYPES[name.rpartition(".")[2]]
    content = files("scfd.pages").joinpath(name).read_bytes()
    return Response(200, content, {"Content-Type": f"{kind}; charset=utf-8", **_HEADERS})
