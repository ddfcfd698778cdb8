"""One module per revision, `vNNNN_what.py`, oldest first. A released revision is never edited."""
