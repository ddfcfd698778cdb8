-- Every segment of an audience exists.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/product_segment_matches after segments/segment_summary.
with named as (
    select product_id, 'taste' as axis, taste_segment_id as segment_id
    from campaigns.product_segment_matches
    union all
    select product_id, 'stage', unnest(string_split(stage_segment_ids, ','))
    from campaigns.product_segment_matches
)
select named.product_id, named.axis, named.segment_id
from named
left join segments.segment_summary as summary on summary.axis = named.axis and summary.segment_id = named.segment_id
where summary.segment_id is null
