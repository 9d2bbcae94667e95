"""What the two ends of a byte stream share: the lean codec of the hot messages, digests, the allocator's tuning."""
