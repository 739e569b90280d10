"""What is said about limits (LIM-6), put together from what each gateway has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from neurogrid.limits.counting import Counting
from neurogrid.limits.schemas import LimitedCaller, LimitedPath, LimitStatistics, Refusals
from neurogrid.limits.statistics import Seen, most, together


def overview(seen: Sequence[Seen], counting: Counting, algorithm: str, top: int) -> LimitStatistics:
    """Return the statistics, with the ``top`` most limited callers and paths; the first of ``seen`` is this gateway."""
    allowed: Counter[str] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    for each in seen:
        allowed.update(each.allowed)
        refused.update({(tier, name): n for tier, names in each.refused.items() for name, n in names.items()})
    return LimitStatistics(
        gateway=counting.gateway,
        seen_by=[each.gateway for each in seen],
        since=min(each.since for each in seen),
        engine=counting.engine,
        gateways=counting.gateways,
        outages=sum(each.outages for each in seen),
        algorithm=algorithm,
        allowed=dict(allowed),
        refused=[Refusals(tier=tier, window=name, refused=n) for (tier, name), n in refused.most_common()],
        paths=[
            LimitedPath(path=path, refused=limited.refused, windows=limited.by_window)
            for path, limited in most(together(each.paths for each in seen), top).items()
        ],
        callers=[
            LimitedCaller(
                caller=caller, refused=limited.refused, windows=limited.by_window, last_at=limited.last
            )
            for caller, limited in most(together(each.callers for each in seen), top).items()
        ],
    )
