"""gRPC servicers of score.v1, one per noun."""
