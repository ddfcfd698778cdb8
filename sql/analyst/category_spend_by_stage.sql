-- What does each stage spend its money on?
-- The answer has one row per stage and category with the share of the stage's money and, beside it, the share the
-- category has in the whole shop: an index above 1 means the stage leans toward the category.
-- grain: stage_segment_id, category
-- column stage_segment_id: The stage segment.
-- column stage_name: Its name.
-- column category: The category.
-- column customers: Customers of the stage who bought in it.
-- column net_amount: Money they spent in it after discounts, in the source's currency.
-- column stage_share: Share of the stage's money, 0 to 1.
-- column shop_share: Share of the whole shop's money, 0 to 1.
-- column index: The first share over the second; 1 is like the whole shop.
with spend as (
    select
        s.stage_segment_id,
        min(s.stage_name) as stage_name,
        c.value as category,
        count(*) as customers,
        sum(c.net_amount) as net_amount
    from features.customer_shares as c
    inner join segments.customer_segments as s on s.customer_id = c.customer_id
    where c.dimension = 'category'
    group by s.stage_segment_id, c.value
),

shared as (
    select
        stage_segment_id,
        stage_name,
        category,
        customers,
        net_amount,
        net_amount / nullif(sum(net_amount) over (partition by stage_segment_id), 0) as stage_share,
        sum(net_amount) over (partition by category) / nullif(sum(net_amount) over (), 0) as shop_share
    from spend
)

select
    stage_segment_id,
    stage_name,
    category,
    customers,
    net_amount,
    round(stage_share, 4) as stage_share,
    round(shop_share, 4) as shop_share,
    round(stage_share / nullif(shop_share, 0), 2) as index
from shared
order by stage_segment_id, net_amount desc, category
