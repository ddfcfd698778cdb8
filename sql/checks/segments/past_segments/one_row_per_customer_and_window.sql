-- One row per customer and look back, on a day that many windows before the as-of date, for customers of today or gone
-- since.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise the out-of-time step again (segments/past_segments).
select windows_ago, customer_id, as_of
from segments.past_segments
qualify count(*) over (partition by windows_ago, customer_id) > 1
    or windows_ago not in (1, 2)
    or as_of <> cast($as_of as date) - cast(90 * windows_ago as integer)
