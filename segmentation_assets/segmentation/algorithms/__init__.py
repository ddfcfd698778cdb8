"""The ways to cluster a matrix, behind one interface.

`base.Clusterer` is the interface and `registry` the way in, by name. One module per family; each says what it fits on
and how it labels the rest. Which k, whether the clusters mean anything and what they are called is decided elsewhere:
nothing here looks at the evidence. `comparison` (one level up) puts all of them on the same matrix.
"""
