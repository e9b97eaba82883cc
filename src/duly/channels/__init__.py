"""Ways out: how a subscriber is told."""
