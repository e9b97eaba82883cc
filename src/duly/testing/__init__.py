"""For the tests of those who use Duly, and for its own."""
