"""What goes wrong in a sign-in by a provider, as users are told."""

from __future__ import annotations

from neurogrid.core.errors import BadRequest, Conflict, Forbidden


class OAuthStateInvalid(BadRequest):
    """The answer belongs to no sign-in that this browser began and has not ended."""

    code, title = "oauth_state_invalid", "Not a sign-in of this browser"

    def __init__(self, url: str) -> None:
        super().__init__(
            "This sign-in was not begun in this browser, took more than ten minutes, or was answered before. "
            f"Begin it again at {url}, with cookies allowed."
        )


class OAuthAnswerInvalid(BadRequest):
    """What the provider, or somebody in its name, answered cannot be believed."""

    code, title = "oauth_answer_invalid", "The provider's answer is not valid"

    def __init__(self, label: str) -> None:
        super().__init__(f"The answer in the name of {label} is not one to this sign-in. Begin it again.")


class OAuthDenied(Forbidden):
    """The user, or the provider, did not want it."""

    code, title = "oauth_denied", "Not signed in"

    def __init__(self, label: str) -> None:
        super().__init__(
            f"{label} did not let you in, or you cancelled. Begin again, or sign in another way."
        )


class ProviderEmailUnverified(Forbidden):
    """The provider does not vouch for the address."""

    code, title = "provider_email_unverified", "E-mail address not confirmed"

    def __init__(self, label: str) -> None:
        super().__init__(
            f"{label} does not say that your e-mail address is confirmed. Confirm it there, "
            "or register here with address and password."
        )


class IdentityTaken(Conflict):
    """The account there belongs to an account here."""

    code, title = "identity_taken", "Linked already"

    def __init__(self, label: str) -> None:
        super().__init__(f"This account at {label} is linked already, to this or another account here.")


class LastWayIn(Conflict):
    """Nobody could sign in to the account any longer."""

    code, title = "last_way_in", "The last way to sign in"

    def __init__(self) -> None:
        super().__init__(
            "There would be no way left to sign in to your account. Choose a password first: "
            "POST /v1/auth/password/forgot mails you a link."
        )
