-- One row per customer, each of today's segments, with an activity that is a number of products.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/audience_members after campaigns/customer_activity.
select members.customer_id, members.taste_segment_id, members.stage_segment_id, members.expected_products
from campaigns.audience_members as members
left join campaigns.customer_activity as activity
    on activity.customer_id = members.customer_id and activity.windows_ago = 0
    and activity.taste_segment_id = members.taste_segment_id
    and activity.stage_segment_id = members.stage_segment_id
qualify count(*) over (partition by members.customer_id) > 1
    or activity.customer_id is null
    or members.expected_products is null
    or not isfinite(members.expected_products)
    or members.expected_products < 0
    or members.stage_group is null
