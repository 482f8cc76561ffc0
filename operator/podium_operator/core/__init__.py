"""The pure core: facts in, plan out. No clock, no I/O, no environment, no randomness, no logging."""
