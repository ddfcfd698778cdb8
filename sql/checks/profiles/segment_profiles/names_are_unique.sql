-- A segment is chosen by its name in the shop's daily work, so no two segments of either axis share one.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: rename one of the segments; the writer puts the segment's id behind a repeated name.
select axis, segment_id, name
from profiles.segment_profiles
qualify count(*) over (partition by lower(trim(name))) > 1 or name is null or trim(name) = ''
