"""
What browsers are shown: the page of a node, and that of the control plane for development.

Files as they are: no build step, nothing from other hosts. What both pages share is in ``style.css`` and
``common.js``.
"""

from __future__ import annotations

from importlib.resources import files

from scfd.web import Response

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(name: str) -> Response:
    """
    :param name: of a file in this package.
    """
    kind = _TYPES[name.rpartition(".")[2]]
    content = files("scfd.pages").joinpath(name).read_bytes()
    return Response(200, content, {"Content-Type": f"{kind}; charset=utf-8", **_HEADERS})
