"""Sign-in by other providers: OpenID Connect, and plain OAuth2 with an API that says who somebody is."""
