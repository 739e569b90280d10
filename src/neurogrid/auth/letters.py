"""What the mails to users say. Nothing in them comes from a stranger but the address they go to."""

from __future__ import annotations

from neurogrid.auth.mails import Letter

_NOT_YOU = "If that was not you, you need do nothing."
_SECURE = "If that was not you, sign out everywhere and choose another password at {url}/ at once."


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


def factor_added(url: str, name: str) -> Letter:
    """Tell the owner of an account that signing in can take something new."""
    return _letter(
        "You have a new second factor",
        f"A new {name} was set up for your NeuroGrid account. Signing in by password takes a second factor.",
        "Keep the recovery codes in a safe place: they let you in when you lose it.",
        _SECURE.format(url=url),
    )


def factor_removed(url: str, name: str) -> Letter:
    """Tell the owner of an account that something no longer signs in."""
    return _letter(
        "A second factor was removed",
        f"The {name} of your NeuroGrid account was removed.",
        _SECURE.format(url=url),
    )


def recovery_code_used(url: str, left: int) -> Letter:
    """Tell the owner of an account that a recovery code is gone."""
    return _letter(
        "A recovery code was used",
        f"A recovery code of your NeuroGrid account was used in place of a second factor. {left} are left.",
        "If you lost your second factor, remove it and set up another.",
        _SECURE.format(url=url),
    )


def recovery_codes_renewed(url: str) -> Letter:
    """Tell the owner of an account that there are other recovery codes."""
    return _letter(
        "You have new recovery codes",
        "Recovery codes of your NeuroGrid account were made anew; the earlier ones are worth nothing.",
        _SECURE.format(url=url),
    )


def wrong_codes(url: str) -> Letter:
    """Warn the owner of an account that somebody knows its password."""
    return _letter(
        "Somebody may know your password",
        "Somebody signed in to your NeuroGrid account with the right password, and then gave wrong codes.",
        f"If that was not you, nobody got in, and your password is known: choose another one at {url}/ at once.",
    )


def link_asked(url: str, token: str, label: str, minutes: int) -> Letter:
    """Ask the owner of an account whether an account elsewhere is to open it."""
    return _letter(
        f"Sign in by {label}?",
        f"Somebody, probably you, signed in at {label} with this address, and wants to use that for your NeuroGrid "
        "account from now on. To allow it, open this in the same browser:",
        f"{url}/link-account#token={token}",
        f"or send the token {token}, with the ticket you got, to POST {url}/v1/auth/oauth/link.",
        f"It works once, and for {minutes} minutes. Give it to nobody. {_NOT_YOU}",
    )


def identity_linked(url: str, label: str) -> Letter:
    """Tell the owner of an account that an account elsewhere opens it."""
    return _letter(
        f"You can sign in by {label} now",
        f"An account at {label} was linked to your NeuroGrid account: it can be signed in to by that.",
        f"If that was not you, ask for a new password at {url}/ at once, and unlink {label}.",
    )


def _letter(subject: str, *paragraphs: str) -> Letter:
    return Letter(f"NeuroGrid: {subject}", "\n\n".join(paragraphs) + "\n")
