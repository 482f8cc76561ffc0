"""The suggestion room behind one interface: over HTTP on a cluster, in this process on a laptop."""
