"""The gate: whether a candidate takes the champion's place."""
