"""Channels from one service to its sister."""

import grpc

KEEPALIVE_SECONDS = 30
MAX_MESSAGE_BYTES = 17 * 1024 * 1024

CallMetadata = tuple[tuple[str, str], ...]


def open_channel(address: str) -> grpc.Channel:
    """Open a channel to the sister service; it connects, and reconnects, by itself."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 5000),
        ],
    )


def service_credentials(token: str) -> CallMetadata:
    """Return the metadata that proves the caller to be the sister service.

    Without a token it calls as anyone does, which between two services without authentication is enough.
    """
    return (("authorization", f"Bearer {token}"),) if token else ()
