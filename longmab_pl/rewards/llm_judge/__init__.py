"""Rewards by a judge model: what it is asked, how its replies are read, and how they become a score (LongReward)."""
