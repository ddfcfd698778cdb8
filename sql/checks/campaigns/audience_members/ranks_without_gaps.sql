-- Places within taste, stage group and is_adult run from 0 without a gap: first who can be reached, the most active first.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/audience_members again; offers are planned by these places.
with placed as (
    select
        *,
        row_number() over cell - 1 as place,
        lag(is_reachable) over cell as reachable_before,
        lag(expected_products) over cell as products_before
    from campaigns.audience_members
    window cell as (partition by taste_segment_id, stage_group, is_adult order by activity_rank, customer_id)
)
select customer_id, taste_segment_id, stage_group, is_adult, activity_rank, place
from placed
where activity_rank is distinct from place
   or (is_reachable and not reachable_before)
   or (is_reachable = reachable_before and expected_products > products_before)
