"""File formats and writers that keep data intact after a crash, a full disk or a power cut."""
