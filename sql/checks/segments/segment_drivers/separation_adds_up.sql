-- The shares of separation of a segment's features sum to one, or are all zero where nothing separates it.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: Look at separation_shares in segmentation/drivers.py for the named segment.
select axis, segment_id, sum(separation_share) as total
from segments.segment_drivers
group by axis, segment_id
having abs(sum(separation_share) - 1) > 0.001
    and sum(separation_share) > 0.001
order by axis, segment_id
