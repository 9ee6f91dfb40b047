"""Settings as the source code declares them: read without importing a library, so that commands answer at once."""
