"""What any gRPC service of ours stands on. Knows no service."""
