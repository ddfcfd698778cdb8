"""The synthetic world: a shop with every contract table, planted structure and planted faults.

What belongs here makes rows that look like a source's and says, in an answer key, what was planted. Nothing here
cleans, measures or segments, and nothing outside may read the answer key except benchmarks and tests.
"""

from segmentation_assets.sources.synthetic.settings import WorldSettings
from segmentation_assets.sources.synthetic.world import stage_world

__all__ = ["WorldSettings", "stage_world"]
