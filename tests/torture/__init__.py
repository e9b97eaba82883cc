"""Processes killed and stopped at random instants, disks full, clocks stepped."""
