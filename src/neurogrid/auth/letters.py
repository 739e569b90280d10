"""What the mails to users say. Nothing in them comes from a stranger but the address they go to."""

from __future__ import annotations

from neurogrid.auth.mails import Letter

_NOT_YOU = "If that was not you, you need do nothing."


def verify(url: str, token: str) -> Letter:
    """Ask the owner of an address whether the account is theirs."""
    return _letter(
        "Confirm your e-mail address",
        "Somebody, probably you, made a NeuroGrid account with this address. To confirm that it is yours, open",
        f"{url}/verify-email#token={token}",
        f"or send the token {token} to POST {url}/v1/auth/verify-email.",
        "If it was not you, do not open the link: whoever made the account chose its password.",
    )


def already_registered(url: str) -> Letter:
    """Tell the owner of an account that somebody tried to make it again."""
    return _letter(
        "You have an account already",
        "Somebody, probably you, tried to make a NeuroGrid account with this address, which has one already.",
        f"Sign in at {url}/, or ask for a new password there if you forgot it.",
        _NOT_YOU,
    )


def reset(url: str, token: str, minutes: int) -> Letter:
    """Let the owner of an account choose a new password."""
    return _letter(
        "Choose a new password",
        "Somebody, probably you, asked for a new password of your NeuroGrid account. To choose one, open",
        f"{url}/reset-password#token={token}",
        f"or send the token {token} to POST {url}/v1/auth/password/reset.",
        f"It works once, and for {minutes} minutes. {_NOT_YOU}",
    )


def password_changed(url: str) -> Letter:
    """Tell the owner of an account that its password is another one now."""
    return _letter(
        "Your password was changed",
        "The password of your NeuroGrid account was changed, and you were signed out everywhere.",
        f"If that was not you, ask for a new password at {url}/ at once.",
    )


def _letter(subject: str, *paragraphs: str) -> Letter:
    return Letter(f"NeuroGrid: {subject}", "\n\n".join(paragraphs) + "\n")
