-- Who bought what in the 90 days that began 90 (window 1) and 180 (window 2) days ago, by where the customers stood when
-- the window began. A segment is defined by its own past purchases, so counting those would be circular: this counts what
-- came after. Goods of sensitive categories and lines without a product are not in it.
-- grain: windows_ago, product_id, taste_segment_id, stage_segment_id
-- column windows_ago: 1 for the last 90 days, 2 for the 90 days before.
-- column taste_segment_id: Taste segment when the window began; T0 when the taste was not known.
-- column stage_segment_id: Stage segment when the window began; S0 for who had never bought.
-- column buyers: Customers who bought the product in the window.
-- column first_buyers: Those of them who had never bought it before.
with bought as (
    select
        customer_id,
        product_id,
        bool_or(ordered_on > cast($as_of as date) - 90) as in_1,
        bool_or(ordered_on <= cast($as_of as date) - 90 and ordered_on > cast($as_of as date) - 180) as in_2,
        min(ordered_on) as first_on
    from features.order_lines
    where product_id is not null and not is_sensitive and ordered_on <= cast($as_of as date)
    group by customer_id, product_id
),
by_window as (
    select 1 as windows_ago, customer_id, product_id, first_on > cast($as_of as date) - 90 as is_first
    from bought
    where in_1
    union all
    select 2 as windows_ago, customer_id, product_id, first_on > cast($as_of as date) - 180 as is_first
    from bought
    where in_2
)
select
    activity.windows_ago,
    by_window.product_id,
    activity.taste_segment_id,
    activity.stage_segment_id,
    count(*) as buyers,
    count(*) filter (by_window.is_first) as first_buyers
from by_window
inner join campaigns.customer_activity as activity
    on activity.customer_id = by_window.customer_id and activity.windows_ago = by_window.windows_ago
group by activity.windows_ago, by_window.product_id, activity.taste_segment_id, activity.stage_segment_id
order by activity.windows_ago, by_window.product_id, activity.taste_segment_id, activity.stage_segment_id
