"""Where raw rows come from and what a row must look like before anything downstream may use it.

Here live the raw contract, the synthetic world, sources mapped by SQL files, and the cleaning rules. Nothing
here computes a feature, and nothing here knows which asset calls it.
"""
