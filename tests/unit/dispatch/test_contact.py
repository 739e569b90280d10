"""When a gateway may judge that other nodes are gone."""

from __future__ import annotations

from neurogrid.dispatch.contact import Contact


class Clock:
    """A clock on a string."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def touched(contact: Contact, clock: Clock, seconds: float) -> None:
    """Let ``seconds`` pass with a sign of contact in each."""
    for _ in range(int(seconds)):
        clock.now += 1
        contact.note()


def test_judgement_needs_a_lease_of_contact() -> None:
    """R4: a gateway that just started judges nobody until a whole lease has passed."""
    clock = Clock()
    contact = Contact(10, clock)
    touched(contact, clock, 9)
    assert not contact.unbroken()
    touched(contact, clock, 1)
    assert contact.unbroken()


def test_first_to_wake_judges_nobody() -> None:
    """R4: after a sleep or an outage the first sign of contact begins a new lease, whoever asks first."""
    clock = Clock()
    contact = Contact(10, clock)
    touched(contact, clock, 60)
    assert contact.unbroken()
    clock.now += 30
    assert not contact.unbroken()
    contact.note()
    assert not contact.unbroken()
    touched(contact, clock, 9)
    assert not contact.unbroken()
    touched(contact, clock, 1)
    assert contact.unbroken()


def test_a_lost_connection_begins_anew() -> None:
    """R4: as long as the journal has no connection, no time counts."""
    clock = Clock()
    contact = Contact(10, clock)
    touched(contact, clock, 60)
    contact.lose()
    assert not contact.unbroken()
    touched(contact, clock, 9)
    assert not contact.unbroken()
    touched(contact, clock, 1)
    assert contact.unbroken()
