"""The Lightning data modules: on-policy rollouts, and preference data from files."""
