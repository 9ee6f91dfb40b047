"""Tables and pictures of runs and evaluations."""
