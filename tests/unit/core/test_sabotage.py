"""The seam of the drill's self-test opens for nobody else."""

from __future__ import annotations

import pytest

from neurogrid.core.sabotage import VARIABLE, Protection, switched_off


@pytest.mark.parametrize("production", [False, True])
@pytest.mark.parametrize("nothing", [None, ""])
def test_everything_is_on_unless_asked(
    monkeypatch: pytest.MonkeyPatch, *, production: bool, nothing: str | None
) -> None:
    """Without the drill's variable no protection is off, anywhere."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if nothing is not None:
        monkeypatch.setenv(VARIABLE, nothing)
    assert switched_off(production=production) is None


@pytest.mark.parametrize("protection", list(Protection))
def test_one_protection_is_off_at_a_time(monkeypatch: pytest.MonkeyPatch, protection: Protection) -> None:
    """The variable names one protection, and production refuses to start with it."""
    monkeypatch.setenv(VARIABLE, protection.value)
    assert switched_off(production=False) is protection
    with pytest.raises(ValueError, match="no place in production"):
        switched_off(production=True)


def test_what_does_not_exist_is_no_protection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name does not pass for everything being on."""
    monkeypatch.setenv(VARIABLE, "fences")
    with pytest.raises(ValueError, match="fences"):
        switched_off(production=False)
