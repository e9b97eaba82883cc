"""Words: frozen values, without I/O, clock or await."""
