"""The Berkeley function-calling leaderboard's rules: cases, decoders, checker, scores."""
