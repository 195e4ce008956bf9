"""What `make speed` times: ours beside what people use today, on one network with the same weights."""
