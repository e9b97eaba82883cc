"""Steps called by hand, on a manual clock."""
