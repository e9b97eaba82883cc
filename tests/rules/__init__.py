"""The pure rules, one promise a test."""
