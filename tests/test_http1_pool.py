"""Connections that are kept open between requests."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.http1.activity import KEPT_EACH, PATIENCE, Activity
from scfd.http1.pool import Pool
from tests.http1_fakes import AT_ONCE, FakeConnector, FakeExchange, FakeTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.server = FakeConnector()
        self.pool = Pool(self.server, size=2, idle=4.0, connect_timeout=5.0, clock=self.clock, turn=AT_ONCE)

    def ask(self, count: int = 1) -> list[FakeExchange]:
        exchanges = [FakeExchange() for _ in range(count)]
        for exchange in exchanges:
            self.pool.submit(exchange)
        return exchanges

    def served(self, count: int = 1) -> list[FakeTransport]:
        """Connections that have each served a request and are idle."""
        self.ask(count)
        transports = [self.server.accept() for _ in range(count)]
        for transport in transports:
            transport.receive(OK)
        return transports

    def figures(self) -> tuple[int, int, int]:
        return self.pool.open, self.pool.idle, self.pool.waiting

    def test_a_connection_is_made_when_it_is_needed(self) -> None:
        self.assertEqual((self.server.attempts, self.figures()), ([], (0, 0, 0)))
        (exchange,) = self.ask()
        self.assertEqual(self.figures(), (1, 0, 1))
        transport = self.server.accept()
        self.assertEqual(transport.sent, exchange.request)
        self.assertEqual(self.figures(), (1, 0, 0))
        transport.receive(OK)
        self.assertEqual(self.figures(), (1, 1, 0))

    def test_an_idle_one_is_taken_first(self) -> None:
        (transport,) = self.served()
        (exchange,) = self.ask()
        transport.receive(OK)
        self.assertEqual((exchange.heard, self.server.attempts), ([("head", 200), ("end",)], []))

    def test_one_that_the_server_is_closing_is_not_taken(self) -> None:
        (transport,) = self.served()
        transport.ended = "closing"
        (exchange,) = self.ask()
        self.assertEqual((exchange.heard, len(self.server.attempts)), ([], 1))

    def test_beyond_its_size_requests_wait_in_turn(self) -> None:
        first, second, third, fourth = self.ask(4)
        self.assertEqual((len(self.server.attempts), self.figures()), (2, (2, 0, 4)))
        one, two = self.server.accept(), self.server.accept()
        two.receive(OK)
        self.assertTrue(second.over() and third.connection is second.connection)
        one.receive(OK)
        self.assertTrue(fourth.connection is first.connection)
        self.assertEqual(self.figures(), (2, 0, 0))

    def test_a_place_that_becomes_free_is_used(self) -> None:
        exchanges = self.ask(3)
        self.server.accept().lose()
        self.assertTrue(exchanges[0].over())
        self.assertEqual(len(self.server.attempts), 2)

    def test_a_request_may_stop_waiting(self) -> None:
        first, second = self.ask(2)
        self.pool.withdraw(first)
        self.assertIsNotNone(self.server.accept())
        self.assertIsNone(first.connection)
        self.assertIsNotNone(second.connection)
        self.server.accept()
        self.assertEqual(self.figures(), (2, 1, 0))

    def test_a_refused_connection_fails_one_request(self) -> None:
        first, second = self.ask(2)
        self.server.refuse(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"))
        self.assertEqual(first.heard, [("failure", "ConnectError", "can't connect: Connection refused")])
        self.assertEqual((second.heard, self.figures()), ([], (1, 0, 1)))

    def test_every_request_gets_a_try_of_its_own(self) -> None:
        exchanges = self.ask(3)
        for _ in range(3):
            self.server.refuse(OSError("no"))
        self.assertEqual([exchange.heard[0][0] for exchange in exchanges], ["failure"] * 3)
        self.assertEqual(self.figures(), (0, 0, 0))

    def test_a_connection_that_takes_too_long(self) -> None:
        (exchange,) = self.ask()
        self.clock.advance(5)
        self.assertEqual(exchange.heard, [("failure", "ConnectTimeoutError", "no connection after 5 s")])
        self.assertEqual(self.figures(), (0, 0, 0))

    def test_lost_before_it_was_used(self) -> None:
        (exchange,) = self.ask()
        factory, made = self.server.attempts.pop(0)
        connection = factory()
        transport = FakeTransport(connection)
        transport.lose()
        made.callback((transport, connection))
        self.assertEqual((self.pool.idle, exchange.connection), (0, None))
        # `lost` came before `made`: the request still gets its connection.
        self.assertEqual(len(self.server.attempts), 1)

    def test_idle_ones_are_closed_after_a_while(self) -> None:
        (old,) = self.served()
        self.clock.advance(3)
        self.ask(2)
        new = self.server.accept()
        new.receive(OK)
        old.receive(OK)
        self.clock.advance(3.5)
        self.assertEqual((old.ended, new.ended), ("", ""))
        self.clock.advance(0.5)
        self.assertEqual((old.ended, new.ended), ("closed", "closed"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_one_used_last_is_taken_first_so_that_others_can_go(self) -> None:
        first, second = self.served(2)
        for _ in range(5):
            self.clock.advance(1)
            self.ask()
            second.receive(OK)
        self.assertEqual((first.ended, second.ended), ("closed", ""))

    def test_the_server_closes_an_idle_one(self) -> None:
        self.served()[0].lose()
        self.assertEqual(self.figures(), (0, 0, 0))
        self.ask()
        self.assertEqual(len(self.server.attempts), 1)

    def test_close(self) -> None:
        idle, busy = self.served(2)
        self.ask()
        self.pool.close()
        self.assertEqual((idle.ended, busy.ended), ("closed", ""))
        busy.receive(OK)
        self.assertEqual(busy.ended, "closed")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_ends_what_waits_and_takes_no_more(self) -> None:
        self.served()
        waiting = self.ask(3)[1:]
        ((_, attempt),) = self.server.attempts
        self.pool.close()
        self.assertTrue(attempt.called)
        (late,) = self.ask()
        for exchange in [*waiting, late]:
            self.assertEqual(
                exchange.heard, [("failure", "ConnectError", "stopping: no more requests are sent")]
            )


class GiveWayTests(SynchronousTestCase):
    """Two pools of a server that serves one connection at a time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.server, self.other = FakeConnector(), FakeConnector()
        self.activity = Activity(self.clock)
        self.pool, self.other_pool = (
            Pool(server, 2, 4.0, 5.0, self.clock, AT_ONCE, self.activity)
            for server in (self.server, self.other)
        )

    def ask(self, pool: Pool) -> FakeExchange:
        exchange = FakeExchange()
        pool.submit(exchange)
        return exchange

    def test_what_arrives_is_counted(self) -> None:
        self.ask(self.pool)
        transport = self.server.accept()
        transport.receive(OK[:5])
        transport.receive(OK[5:])
        self.assertEqual(self.activity.received, 2)

    def test_an_idle_connection_is_closed_for_one_that_waits(self) -> None:
        self.ask(self.pool)
        served = self.server.accept()
        served.receive(OK)
        waiting = self.ask(self.other_pool)
        transport = self.other.accept()
        self.clock.advance(PATIENCE / 2)
        self.assertEqual(served.ended, "")
        self.clock.advance(PATIENCE / 2)
        self.assertEqual(served.ended, "closed")
        transport.receive(OK)
        self.assertEqual(waiting.heard, [("head", 200), ("end",)])
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_busy_one_is_closed_when_its_response_is_complete(self) -> None:
        self.ask(self.pool)
        served = self.server.accept()
        self.ask(self.other_pool)
        self.other.accept()
        served.receive(OK[:5])
        self.clock.advance(PATIENCE)
        self.assertEqual(served.ended, "")
        served.receive(OK[5:])
        self.assertEqual(served.ended, "closed")
        served.protocol.connection_lost(None)
        self.assertEqual(self.pool.open, 0)

    def test_they_take_turns(self) -> None:
        """One after the other is closed for the next one; from the second on at once."""
        for _ in range(2):
            self.ask(self.pool)
        first, second = self.server.accept(), self.server.accept()
        self.ask(self.other_pool)
        event = self.other.accept()
        first.receive(OK)
        self.assertEqual(first.ended, "")
        self.clock.advance(PATIENCE)
        self.assertEqual(first.ended, "closed")
        second.receive(OK)
        self.assertEqual(second.ended, "closed")
        event.receive(OK)
        self.clock.advance(PATIENCE)
        self.assertEqual(event.ended, "")

    def test_one_is_kept_from_time_to_time_to_see_whether_more_are_served(self) -> None:
        """The server is quick with one connection at first, then slow with all."""
        closed = 0
        for _ in range(KEPT_EACH):
            waiting = [self.ask(self.pool), self.ask(self.other_pool)]
            one, other = self.server.accept(), self.other.accept()
            one.receive(OK[:5])
            self.clock.advance(1.5 * PATIENCE)
            one.receive(OK[5:])
            closed += one.ended == "closed"
            one.protocol.connection_lost(None)
            other.lose()
        self.assertEqual((closed, waiting[0].heard), (KEPT_EACH, [("head", 200), ("end",)]))
        for pool in (self.pool, self.other_pool, self.other_pool):
            self.ask(pool)
        one, others = self.server.accept(), [self.other.accept(), self.other.accept()]
        self.clock.advance(1.5 * PATIENCE)
        one.receive(OK)
        others[0].receive(OK)
        self.clock.advance(1.5 * PATIENCE)
        self.assertEqual((one.ended, others[0].ended), ("", ""))

    def test_where_several_are_served_it_is_one_each_second(self) -> None:
        """A server with many threads may well take long for one request."""
        for _ in range(2):
            self.ask(self.pool)
        served = [self.server.accept(), self.server.accept()]
        for transport in served:
            transport.receive(OK)
        self.ask(self.other_pool)
        slow = self.other.accept()
        for expected in (["", ""], ["closed", ""], ["closed", "closed"]):
            self.assertEqual([transport.ended for transport in served], expected)
            for _ in range(21):
                self.clock.advance(PATIENCE)
        slow.lose()
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_server_that_serves_one_at_a_time_again(self) -> None:
        """What has been seen holds as long as any connection is open."""
        for _ in range(2):
            self.ask(self.pool)
        for transport in (self.server.accept(), self.server.accept()):
            transport.receive(OK)
            transport.lose()
        self.test_an_idle_connection_is_closed_for_one_that_waits()

    def test_requests_that_wait_get_a_connection_in_its_place(self) -> None:
        for _ in range(3):
            self.ask(self.pool)
        first, _ = self.server.accept(), self.server.accept()
        first.receive(OK[:5])
        self.clock.advance(PATIENCE)
        first.receive(OK[5:])
        self.assertEqual((first.ended, self.pool.waiting, self.server.attempts), ("closed", 1, []))
        first.protocol.connection_lost(None)
        self.assertEqual(len(self.server.attempts), 1)
