-- Every segment of a brief's audience exists.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/briefs after segments/segment_summary.
with named as (
    select brief_id, 'taste' as axis, taste_segment_id as segment_id from campaigns.briefs
    union all
    select brief_id, 'stage', unnest(string_split(stage_segment_ids, ',')) from campaigns.briefs
)
select named.brief_id, named.axis, named.segment_id
from named
left join segments.segment_summary as summary on summary.axis = named.axis and summary.segment_id = named.segment_id
where summary.segment_id is null
