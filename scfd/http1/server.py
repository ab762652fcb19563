"""Serves the requests of a caller's connection, one after the other."""

from __future__ import annotations

import asyncio
import json

from scfd.http1.connection import NEVER, CallerConnection
from scfd.http1.contract import RefusedError, Request, Responder, WholeResponse
from scfd.http1.front import Front
from scfd.http1.heads import whole_response
from scfd.http1.reader import RequestReader

#: Pipelined requests that are read before other connections have their turn.
REQUESTS_AT_ONCE = 16
#: Seconds in which a response has to begin for a caller that has closed its side of the connection. Whether
#: it still reads can't be seen: most that do so have left, and a few wait for a response to their last words.
HALF_CLOSED = 5.0
#: Seconds after a request in which the next one may be on its way: until then, stopping leaves it open.
IDLE_GRACE = 1.0
_CROWDED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#: Status that is counted for a caller who left before the response began, as nginx does.
CALLER_GONE = 499


class ServerConnection(CallerConnection):
    """A `scfd.http1.contract.Caller`, and what reads its requests."""

    def __init__(self, front: Front) -> None:
        super().__init__(front)
        self._reader = RequestReader(
            self._on_request, self._on_body, self._on_body_end, self._limits.max_header
        )
        self._input = b""
        self._advancing = self._half_closed = self._body_paused = False
        self._reading = True
        self._request: Request | None = None
        self._responder: Responder | None = None
        self._begin_request(None)
        self._idle_since = self._began

    def _begin_request(self, request: Request | None) -> None:
        self._request = request
        self._complete = request is not None and request.length == 0
        self._begun = self._tunnel = self._head_begun = False
        self._status = CALLER_GONE
        self._received = self._sent = 0
        self._began = self._front.clock.seconds()

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._front.add(self)

    def _received_data(self, data: bytes) -> None:
        if not self._tunnel:
            self._input += data
            self._advance()
        elif self._responder is not None:
            self._into_tunnel(self._responder, data)

    def eof_received(self) -> bool:
        """
        The caller sends no more. A whole request still gets its response.

        :returns: whether the connection stays open. (With TLS it can't.)
        """
        waits = bool(self._input) if self._responder is None else self._complete and not self._tunnel
        if not waits or self._over or not self._transport.can_write_eof():
            return False
        self._half_closed = True
        if not self._begun:
            self.deadline = min(self.deadline, self._front.clock.seconds() + HALF_CLOSED)
        return True

    def refuse_connection(self) -> None:
        """Make room: there are too many connections."""
        if self._begun:
            self.break_off()
        else:
            self._front.turn.write(self._transport, _CROWDED)
            self._close()

    def limit_head(self, seconds: float) -> None:
        """Give the request less time to arrive."""
        self.deadline = self._began + seconds
        self._head_begun = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self.deadline = NEVER
        self._front.remove(self)
        self._end_request(abandon=True)

    def pause_writing(self) -> None:
        self._writable = False
        self._now_unsent()
        self._touch()
        if self._responder is not None:
            self._responder.on_caller_writable(False)

    def resume_writing(self) -> None:
        self._writable = True
        if self._responder is not None:
            self._touch()
            self._responder.on_caller_writable(True)
        else:
            self._advance()

    def _touch(self) -> None:
        """Something of a body has moved. Waiting for a response to begin has a time limit of its own."""
        if self._begun or not self._complete:
            self._extend()

    # Reading requests.

    def _advance(self) -> None:
        """Read on, as far as the requests before have got their responses."""
        if self._advancing:
            return
        self._advancing = True
        try:
            for _ in range(REQUESTS_AT_ONCE):
                if not (self._input and self._wants_input()):
                    break
                data, self._input = self._input, b""
                self._input = self._reader.feed(data)
            else:
                self._front.clock.callLater(0, self._advance)
        except RefusedError as refusal:
            self._give_up(refusal.status, str(refusal))
        finally:
            self._advancing = False
        if self._responder is not None:
            self._responder.flush()
        elif self._half_closed and not self._input and not self._over:
            self._close()
        elif self._reader.in_head and not self._head_begun:
            self._head_begun = True
            self.deadline = self._front.clock.seconds() + self._limits.header_timeout
        self._steer()

    def _wants_input(self) -> bool:
        if self._over:
            return False
        if self._responder is None:
            return self._writable
        return not (self._complete or self._body_paused or self._tunnel)

    def _steer(self) -> None:
        """Read from the socket, unless something is waiting already. A caller that leaves is noticed, too."""
        reading = self._over or not (self._input or self._body_paused)
        if reading != self._reading and not (self._half_closed or self._transport.is_closing()):
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _on_request(self, request: Request) -> None:
        self._begin_request(request)
        if not request.request_id:
            request.request_id = self._front.new_id()
        limit = self._limits.forward_timeout if self._complete else self._limits.body_timeout
        if self._half_closed:
            limit = min(limit, HALF_CLOSED)
        self.deadline = self._began + limit
        self._check_length(request.length or 0)
        self._responder = self._front.responder(self, request, self._identity)
        self._responder.start()

    def _check_length(self, length: int) -> None:
        if length > self._limits.max_body:
            raise RefusedError(413, f"the body is longer than {self._limits.max_body} bytes")

    def _on_body(self, data: bytes) -> None:
        if self._responder is None:
            return  # the response has been sent; the rest is only read
        self._received += len(data)
        self._check_length(self._received)
        self._touch()
        self._responder.on_body(data)

    def _on_body_end(self) -> None:
        self._complete = True
        self._body_paused = False
        if self._responder is not None:
            if not self._begun:
                self.deadline = self._front.clock.seconds() + self._limits.forward_timeout
            self._responder.on_body_end()

    def _into_tunnel(self, responder: Responder, data: bytes) -> None:
        self._touch()
        responder.on_body(data)
        responder.flush()

    # The responder's side: see `scfd.http1.contract.Caller`.

    @property
    def may_stay(self) -> bool:
        request = self._request
        if request is None or not (request.keep_alive and self._complete):
            return False
        # While it advances, further requests may be in the bytes that are being read.
        last = self._half_closed and not (self._input or self._advancing)
        return self._front.may_stay(self) and not last

    def begin(self, status: int) -> None:
        self._begun = True
        self._status = status
        if status == 101 and self._responder is not None:
            self._tunnel = True
            data, self._input = self._input, b""
            if data:
                self._into_tunnel(self._responder, data)
            self._steer()

    def write(self, data: bytes) -> None:
        self._sent += len(data)
        self._touch()
        self._front.turn.write(self._transport, data)

    def pause_body(self, paused: bool) -> None:
        expected = self._tunnel or not self._complete
        if expected and self._body_paused != paused:
            self._body_paused = paused
            self._touch()
            self._advance()

    def finish(self, stay: bool) -> None:
        complete = self._complete
        self._end_request()
        if not complete or (self._input and not stay):
            self._close(reads_on=True)
        elif not stay:
            self._close()
        else:
            self._idle_since = self._front.clock.seconds()
            self.deadline = self._idle_since + self._limits.idle_timeout
            if self._input or self._half_closed:
                self._advance()

    def respond(self, response: WholeResponse) -> None:
        stay = self.may_stay
        self.begin(response.status)
        self.write(whole_response(response, self._request, stay, self._front.now()))
        self.finish(stay)

    def fail(self, status: int, message: str) -> None:
        if self._begun:
            self.break_off()
        else:
            self.respond(_error(status, message))

    def break_off(self) -> None:
        self._end_request()
        self._reset()

    # Ends.

    def _end_request(self, abandon: bool = False) -> None:
        responder, self._responder = self._responder, None
        request, self._request = self._request, None
        if abandon and responder is not None:
            responder.abandon()
        if request is not None or self._begun:
            self._front.ended(self, request, self._status, self._sent, self._began)
        self._begun = self._complete = self._body_paused = False

    def _give_up(self, status: int, message: str) -> None:
        """Send an error in the responder's place."""
        if self._over:
            return
        responder, self._responder = self._responder, None
        if responder is not None:
            responder.abandon()
        self.fail(status, message)

    def expire(self) -> None:
        """Called when the deadline has passed."""
        if self._closing is not None:
            self.deadline = self._closing.look(self._front.clock.seconds())
        elif self._responder is None:
            self._expire_between()
        elif not self._writable:
            self._expire_unread()
        elif self._begun:
            self._responder.abandon()
            self.break_off()
        elif self._half_closed:
            self.abort()
        elif not self._complete and not self._body_paused:
            self._give_up(408, "the rest of the request did not come in time")
        else:
            self._give_up(504, "the upstream server did not respond in time")

    def _expire_between(self) -> None:
        if self._reader.in_head:
            self._give_up(408, "the rest of the request did not come in time")
        elif self._transport.get_write_buffer_size():
            self._expire_unread()
        else:
            self._close()

    def _expire_unread(self) -> None:
        """A slow reader may be slow, as long as it reads at all: what waits for it is bounded."""
        if self._now_unsent():
            self._extend()
            return
        if self._responder is not None:
            self._responder.abandon()
        self.break_off()

    @property
    def busy(self) -> bool:
        """Whether a response is under way, for which stopping waits. Tunnels have no end of their own."""
        responding = self._responder is not None and not self._tunnel
        return responding or self._sending()

    @property
    def used_lately(self) -> bool:
        """Whether a further request may be on its way."""
        return not self._over and self._front.clock.seconds() - self._idle_since < IDLE_GRACE

    def leave_if_idle(self) -> None:
        """Close the connection, unless a request may be on its way: it is better refused than lost."""
        if self._responder is None and not (self._over or self._reader.in_head or self.used_lately):
            self._close()

    def stop(self) -> None:
        """Close at once: the server stops. A response that is under way breaks off visibly."""
        if self.busy:
            self._reset()
        else:
            self.abort()


def _error(status: int, message: str) -> WholeResponse:
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return WholeResponse(status, body, {"Content-Type": "application/json"})
