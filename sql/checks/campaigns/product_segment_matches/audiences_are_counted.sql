-- Sizes are those of the members: taste and stage group, at least the floor of activity, known adults where age matters.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/product_segment_matches after campaigns/audience_members and campaigns/promotable_products.
-- Who is at least as active as each floor is counted once per cell and not once per match.
with members as (
    select taste_segment_id, stage_group, is_restricted, expected_products as activity_floor,
        count(*) as customers, count(*) filter (is_reachable) as reachable
    from campaigns.audience_members
    cross join (values (false), (true)) as rule(is_restricted)
    where is_adult or not is_restricted
    group by taste_segment_id, stage_group, is_restricted, expected_products
),
counted as (
    select taste_segment_id, stage_group, is_restricted, activity_floor,
        sum(customers) over cell as customers, sum(reachable) over cell as reachable
    from members
    window cell as (
        partition by taste_segment_id, stage_group, is_restricted order by activity_floor desc
        rows between unbounded preceding and current row
    )
)
select matches.product_id, matches.taste_segment_id, matches.stage_group, matches.audience_customers,
    counted.customers, matches.reachable_customers, counted.reachable
from campaigns.product_segment_matches as matches
left join campaigns.promotable_products as promotable on promotable.product_id = matches.product_id
left join counted
    on counted.taste_segment_id = matches.taste_segment_id and counted.stage_group = matches.stage_group
    and counted.activity_floor = matches.activity_floor
    and counted.is_restricted = coalesce(promotable.is_age_restricted, false)
where matches.audience_customers is distinct from counted.customers
   or matches.reachable_customers is distinct from counted.reachable
