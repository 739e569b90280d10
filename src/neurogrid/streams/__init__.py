"""Live events to clients: the hub between bus and connections, over WebSocket and SSE."""
