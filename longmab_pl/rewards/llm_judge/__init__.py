"""Rewards by a judge model: its questions, parsing of its replies, and the scores (LongReward)."""
