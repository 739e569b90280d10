"""What users are told about their quotas."""

from __future__ import annotations

from neurogrid.auth.mails import Letter
from neurogrid.usage.policy import SAID, Kind, Month


def quota(month: Month, kind: Kind, percent: int, used: int, bound: int, upgrade: str, url: str) -> Letter:
    """Tell a user how much of a quota is used, and what happens then."""
    what = SAID[kind]
    begins = f"{month.ends_at:%Y-%m-%d} 00:00 UTC"
    over = percent >= 100
    subject = f"You have used your {what} of {month}" if over else f"You have used {percent} % of your {what}"
    then = (
        f"New tasks are refused until {begins}. What was accepted before goes on."
        if over
        else f"At 100 % new tasks are refused until {begins}."
    )
    return Letter(
        f"NeuroGrid: {subject}",
        "\n\n".join(
            (
                f"Of your monthly quota of {bound:,} {what} you have used {used:,} in {month}.",
                f"{then} {upgrade}",
                f"How much you used of which model, and when: {url}/v1/usage",
            )
        )
        + "\n",
    )
