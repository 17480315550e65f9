"""The training engine, and what shares it: reference models, recovery after structural passes, teaching, sweeps."""
