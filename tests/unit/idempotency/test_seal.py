"""Answers that hold a secret (ADR 0009)."""

from __future__ import annotations

from neurogrid.idempotency.seal import seal, unseal


def test_only_who_asked_reads_it_again() -> None:
    """The same secret opens it, at its own place; another one, another place, or a changed byte does not."""
    sealed = seal(b'{"token":"ngn_x"}', b"credential\nkey", "row")
    assert unseal(sealed, b"credential\nkey", "row") == b'{"token":"ngn_x"}'
    assert unseal(sealed, b"another\nkey", "row") is None
    assert unseal(sealed, b"credential\nkey", "other row") is None
    assert unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), b"credential\nkey", "row") is None


def test_equal_answers_do_not_look_equal() -> None:
    """Sealed twice, an answer is kept as other bytes, none of which are its own."""
    first, second = (seal(b"the same secret", b"s", "row") for _ in range(2))
    assert first != second
    assert b"secret" not in first
