"""gRPC servicers of song.v1, one per noun."""
