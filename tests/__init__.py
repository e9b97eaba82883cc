"""The tests: sentences that could stand in the manual."""
