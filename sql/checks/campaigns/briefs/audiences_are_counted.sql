-- A brief's audience are the members of its taste and stages with its activity or more, known adults alone where it is
-- for adults, and as many of them as it says.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/audience_members, then the matches, the offer plan and campaigns/briefs.
with counted as (
    select
        briefs.brief_id, briefs.audience_customers, briefs.reachable_customers, count(members.customer_id) as members,
        count(members.customer_id) filter (members.is_reachable) as reachable_members
    from campaigns.briefs as briefs
    left join campaigns.audience_members as members
        on members.taste_segment_id = briefs.taste_segment_id
        and list_contains(string_split(briefs.stage_segment_ids, ','), members.stage_segment_id)
        and members.expected_products >= briefs.activity_floor
        and (members.is_adult or not ends_with(briefs.brief_id, '-adults'))
    group by all
)
select brief_id, audience_customers, members, reachable_customers, reachable_members
from counted
where audience_customers is distinct from members or reachable_customers is distinct from reachable_members
