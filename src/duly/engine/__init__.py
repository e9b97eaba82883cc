"""What runs: the steps that fire, recover and look after the store, and their loop."""
