"""A processor that cannot run the engines is told before they crash."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from neurogrid.runners.base import ModelUnavailable
from neurogrid.runners.processor import require_avx2


def _cpuinfo(folder: Path, flags: str) -> Path:
    file = folder / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    return file


def test_x86_without_avx2_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names AVX2 and the model."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(ModelUnavailable, match=r"e5-small needs .*AVX2"):
        require_avx2("e5-small", _cpuinfo(tmp_path, "fpu sse sse2 avx"))


@pytest.mark.parametrize(
    ("machine", "flags"), [("x86_64", "fpu avx avx2 fma"), ("aarch64", "fp asimd"), ("AMD64", "avx2")]
)
def test_others_pass(machine: str, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX2 is asked of x86 only."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    require_avx2("e5-small", _cpuinfo(tmp_path, flags))


def test_unknown_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc/cpuinfo the processor is trusted."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    require_avx2("e5-small", tmp_path / "absent")
