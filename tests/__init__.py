"""All tests: ``unit`` is pure, ``integration`` uses real servers, ``e2e`` real processes."""
