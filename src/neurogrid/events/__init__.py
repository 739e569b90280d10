"""Live events between gateways: one protocol (``bus``), in-process (``memory``) or over Redis (``redis``)."""
