"""The public face: Python, command line, files, and the house itself."""
