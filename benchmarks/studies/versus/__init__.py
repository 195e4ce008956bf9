"""The parts of `make speed`: our code and other packages on one network with the same weights."""
