"""How files are written so that a crash, a full disk or a power cut costs nothing."""
