"""The treaty between Podium's rooms: what a user writes, what the rooms say to each other, and what things are called."""
