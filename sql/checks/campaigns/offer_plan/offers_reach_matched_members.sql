-- Every offer is a match, and the last rank of it is a member who can be reached and is active enough for the match.
-- (Ranks go by reachability, then by activity, so the last one speaks for all before it.)
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/audience_members and product_segment_matches, then campaigns/offer_plan.
select
    plan.product_id, plan.taste_segment_id, plan.stage_group, plan.is_adult, plan.to_rank, matches.activity_floor,
    members.expected_products
from campaigns.offer_plan as plan
left join campaigns.product_segment_matches as matches
    on matches.product_id = plan.product_id
    and matches.taste_segment_id = plan.taste_segment_id
    and matches.stage_group = plan.stage_group
    and matches.stage_segment_ids = plan.stage_segment_ids
left join campaigns.audience_members as members
    on members.taste_segment_id = plan.taste_segment_id
    and members.stage_group = plan.stage_group
    and members.is_adult = plan.is_adult
    and members.activity_rank = plan.to_rank - 1
where matches.product_id is null
   or members.activity_rank is null
   or not members.is_reachable
   or members.expected_products < matches.activity_floor
