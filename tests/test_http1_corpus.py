"""Requests of the kinds by which others test their parsers, read by ours."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.http_corpus import GUNICORN, LLHTTP, differences


class CorpusTests(SynchronousTestCase):
    def test_each_is_read_as_it_should_be(self) -> None:
        self.assertEqual(list(differences()), [])

    def test_no_case_stands_there_twice(self) -> None:
        names = [(case.source, case.name) for case in (*GUNICORN, *LLHTTP)]
        data = [case.data for case in (*GUNICORN, *LLHTTP)]
        self.assertGreater(len(set(data)), 170)
        self.assertEqual(len(set(names)), len(names))
