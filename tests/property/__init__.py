"""Invariants, searched for counterexamples."""
