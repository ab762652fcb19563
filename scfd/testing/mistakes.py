"""What a test can do wrong."""


class TestingError(Exception):
    """A mistake in a test or in its plugin; the text says what was expected."""

    __test__ = False  # pytest would take it for a class of tests
