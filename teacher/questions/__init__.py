"""Question sets: generated, audited, selected."""

SHARES = {"visual": 30, "categorical": 12, "environmental": 8}  # questions of each group in a generated set
ROUNDS = 4  # in which a model is asked for what is missing
