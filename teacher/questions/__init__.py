"""Question sets: generated, audited, selected."""
