"""Import of the packages that carry models, which are extras and may be missing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from neurogrid.runners.base import ModelUnavailable

_Loaded = TypeVar("_Loaded")
_importing = threading.Lock()
"""Packages that import one another's extension modules (numpy) do not bear being imported at once."""


async def load_package(package: str, load: Callable[[], _Loaded]) -> tuple[_Loaded, str]:
    """Run ``load``, which imports ``package``, in a thread; return what it returns and the package's version.

    Raises ``ModelUnavailable`` with the command that installs the package where it is missing, or with the
    import's own words where it is broken.
    """
    try:
        loaded = await asyncio.to_thread(_alone, load)
        return loaded, version(package)
    except (ModuleNotFoundError, PackageNotFoundError) as error:
        msg = f"the package {package} is not installed: pip install 'neurogrid[models]'"
        raise ModelUnavailable(msg) from error
    except (ImportError, OSError, RuntimeError) as error:
        msg = f"the package {package} cannot be loaded: {error}"
        raise ModelUnavailable(msg) from error


def _alone(load: Callable[[], _Loaded]) -> _Loaded:
    with _importing:
        return load()
