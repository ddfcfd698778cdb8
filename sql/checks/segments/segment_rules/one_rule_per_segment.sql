-- Each segment of an axis has one rule, and its figures are shares.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: Look at segment_rules in segmentation/drivers.py for the named segment.
select axis, segment_id, count(*) as copies
from segments.segment_rules
group by axis, segment_id
having count(*) > 1
    or coalesce(min(least(precision, recall, faithfulness)), 0) < 0
    or coalesce(max(greatest(precision, recall, faithfulness)), 0) > 1
order by axis, segment_id
