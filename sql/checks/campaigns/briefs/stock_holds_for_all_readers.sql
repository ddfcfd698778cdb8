-- What everybody in the audiences of all briefs is expected to buy while the offers run is on stock, above the safety
-- level. (Score over the mean activity of a match's audience is what a member buys per expected product.)
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/promotable_products, then the matches, the offer plan and campaigns/briefs.
with offered as (
    select
        brief_id, taste_segment_id, stage_segment_ids, activity_floor, valid_until,
        ends_with(brief_id, '-adults') as is_adults_only, unnest(string_split(product_ids, ',')) as product_id
    from campaigns.briefs
),

demand as (
    select
        offered.brief_id, offered.product_id,
        any_value(matches.score)
        / nullif(avg(members.expected_products) filter (members.expected_products >= matches.activity_floor), 0)
        * sum(members.expected_products) filter (
            members.is_reachable and members.expected_products >= offered.activity_floor
        )
        * (any_value(offered.valid_until) - cast($as_of as date)) / 90 as units
    from offered
    inner join campaigns.product_segment_matches as matches
        on matches.product_id = offered.product_id
        and matches.taste_segment_id = offered.taste_segment_id
        and matches.stage_segment_ids = offered.stage_segment_ids
    inner join campaigns.audience_members as members
        on members.taste_segment_id = offered.taste_segment_id
        and members.stage_group = matches.stage_group
        and (members.is_adult or not offered.is_adults_only)
    group by offered.brief_id, offered.product_id
)

select
    demand.product_id, round(sum(demand.units), 3) as units,
    any_value(promotable.stock_quantity - promotable.safety_stock) as spare_stock
from demand
inner join campaigns.promotable_products as promotable on promotable.product_id = demand.product_id
where promotable.stock_quantity is not null
group by demand.product_id
having sum(demand.units) > any_value(promotable.stock_quantity - promotable.safety_stock) + 0.0001
