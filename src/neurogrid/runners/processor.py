"""Whether this machine's processor can run the native engines at all; without, they die of SIGILL."""

from __future__ import annotations

import platform
from pathlib import Path

from neurogrid.runners.base import ModelUnavailable

_CPUINFO = Path("/proc/cpuinfo")


def require_avx2(model: str, cpuinfo: Path = _CPUINFO) -> None:
    """Raise ``ModelUnavailable`` on an x86 processor that is known to lack AVX2.

    Where the system does not tell (it has no ``/proc/cpuinfo``), the processor is given the benefit of the
    doubt: every x86 machine sold since 2015 has AVX2, and no other architecture needs it.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    flags = next((line for line in lines if line.startswith("flags")), None)
    if flags is not None and "avx2" not in flags.split():
        msg = f"{model} needs a processor with AVX2, which this one lacks; run it on another node"
        raise ModelUnavailable(msg)
