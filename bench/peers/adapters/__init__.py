"""What runs inside the peers' environments: one thin adapter each, over the standard library and the peer alone."""
