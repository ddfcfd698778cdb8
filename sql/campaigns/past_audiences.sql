-- Who stood 90 days ago where each stage stands today, by recency and number of orders: between the 5th and the 95th
-- percentile of the stage on both (the lower end of the orders less those of the last 90 days). What these customers
-- bought since is the honest purchase rate of the stage. The stage's own recent purchases are not: a customer is called
-- active because of them, and lapsed for want of them. For those who never bought (S0) it is everyone who had signed up
-- by then without an order. Taste is that of today. A customer can stand for more than one stage.
-- grain: one row per customer and stage segment
-- column taste_segment_id: the customer's taste segment today; T0 for those who had not bought 90 days ago
-- column stage_segment_id: the stage segment the customer stands for
with orders as (
    select lines.customer_id, lines.order_id, min(lines.ordered_on) as ordered_on
    from features.order_lines as lines
    where lines.ordered_on <= cast($as_of as date) - 90
    group by lines.customer_id, lines.order_id
),
past as (
    select
        customer_id,
        date_diff('day', max(ordered_on), cast($as_of as date) - 90) as recency_days,
        count(*) as order_count
    from orders
    group by customer_id
),
bands as (
    select
        members.stage_segment_id,
        quantile_disc(features.recency_days, 0.05) as low_recency_days,
        quantile_disc(features.recency_days, 0.95) as high_recency_days,
        quantile_disc(features.order_count - coalesce(features.orders_last_90_days, 0), 0.05) as low_order_count,
        quantile_disc(features.order_count, 0.95) as high_order_count
    from segments.customer_segments as members
    inner join features.customer_features as features on features.customer_id = members.customer_id
    where features.recency_days is not null
    group by members.stage_segment_id
)
select past.customer_id, coalesce(members.taste_segment_id, 'T0') as taste_segment_id, bands.stage_segment_id
from past
inner join segments.customer_segments as members on members.customer_id = past.customer_id
inner join bands
    on past.recency_days between bands.low_recency_days and bands.high_recency_days
    and past.order_count between bands.low_order_count and bands.high_order_count
union all
select customers.customer_id, 'T0' as taste_segment_id, 'S0' as stage_segment_id
from clean.customers as customers
left join past on past.customer_id = customers.customer_id
where past.customer_id is null and cast(customers.signed_up_at as date) <= cast($as_of as date) - 90
order by 1, 3
