"""Customer segmentation on arrays and frames: from a table of features to named, explained segments.

Pure: nothing here knows the warehouse, the state store, settings or the orchestrator. The steps, in order:
`matrix.build_matrix` (what goes in), `fit.prepare` (the one pipeline and the matrix that is clustered),
`evidence.gather_evidence`, `choose.choose_k`, `fit.fit_axis`, `fit.identify` (ids and names), `assign.assign`
(a frozen model on any customers), then `drivers`, `facts` and `projection` for the reader.
"""
