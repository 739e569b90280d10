"""`neurogrid drill`: a throw-away grid under load and misfortune, and the count of what it lost (design §8)."""
