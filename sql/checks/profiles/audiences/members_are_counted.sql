-- An audience has the members it says, all of them in its segment: a named audience always has customers in it.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise profiles/audiences again; its members were saved from other tables.
with counted as (
    select
        members.audience_id,
        count(*) as members,
        count(*) filter (
            case audiences.axis when 'stage' then segments.stage_segment_id else segments.taste_segment_id end = audiences.segment_id
        ) as in_the_segment
    from profiles.audience_members as members
    left join profiles.audiences as audiences using (audience_id)
    left join segments.customer_segments as segments on segments.customer_id = members.customer_id
    group by all
)

select audience_id, audiences.customers, counted.members, counted.in_the_segment
from profiles.audiences as audiences
full join counted using (audience_id)
where audiences.customers is distinct from counted.members
   or audiences.customers is distinct from counted.in_the_segment
   or audiences.customers = 0
