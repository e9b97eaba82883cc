"""What every store must do, the same suite for each."""
