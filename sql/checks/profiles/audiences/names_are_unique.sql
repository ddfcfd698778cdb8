-- An audience is chosen by its name, so no two audiences or segments share one.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise profiles/audiences again; the writer puts the segment behind a repeated name.
with names as (
    select audience_id as id, lower(name) as name from profiles.audiences
    union all
    select distinct segment_id as id, lower(name) as name from segments.segment_summary
)

select audiences.audience_id, audiences.name
from profiles.audiences as audiences
inner join names on names.name = lower(audiences.name) and names.id <> audiences.audience_id
