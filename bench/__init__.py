"""Podium measured against its peers: tasks, a simulator, the peers' adapters, and what they found."""
