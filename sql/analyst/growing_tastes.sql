-- Which taste is growing?
-- The answer sets the revenue of the last 90 days beside that of the 90 days before, by taste segment as it is today,
-- the largest growth first. Growth of a whole shop shows in every row: compare the rows with each other, and expect
-- seasons to show. Customers are placed by what they bought in all, so read it as where today's groups are going.
-- grain: taste_segment_id
-- column taste_segment_id: The taste segment.
-- column taste_name: Its name.
-- column customers: Customers in it today.
-- column buyers_last_90_days: Those who bought in the 90 days that end with the as-of date.
-- column buyers_90_days_before: Those who bought in the 90 days before these.
-- column revenue_last_90_days_amount: Money of the last 90 days after discounts, in the source's currency.
-- column revenue_90_days_before_amount: Money of the 90 days before.
-- column growth_share: The first over the second, less one; 0.1 is ten per cent more, null when there was none before.
with as_of as (
    -- Each buyer's last order and recency add up to the as-of date of the data.
    select max(last_order_on + cast(recency_days as integer)) as as_of_on
    from features.customer_features
),

recent as (
    select
        l.customer_id,
        sum(l.net_amount) filter (where date_diff('day', l.ordered_on, a.as_of_on) < 90) as amount,
        sum(l.net_amount) filter (where date_diff('day', l.ordered_on, a.as_of_on) >= 90) as earlier_amount
    from features.order_lines as l
    cross join as_of as a
    where date_diff('day', l.ordered_on, a.as_of_on) < 180
    group by l.customer_id
),

by_taste as (
    select
        s.taste_segment_id,
        min(s.taste_name) as taste_name,
        count(*) as customers,
        count(r.amount) as buyers_last_90_days,
        count(r.earlier_amount) as buyers_90_days_before,
        coalesce(sum(r.amount), 0) as amount,
        coalesce(sum(r.earlier_amount), 0) as earlier_amount
    from segments.customer_segments as s
    left join recent as r on r.customer_id = s.customer_id
    group by s.taste_segment_id
)

select
    taste_segment_id,
    taste_name,
    customers,
    buyers_last_90_days,
    buyers_90_days_before,
    amount as revenue_last_90_days_amount,
    earlier_amount as revenue_90_days_before_amount,
    round(amount / nullif(earlier_amount, 0) - 1, 4) as growth_share
from by_taste
order by growth_share desc nulls last, taste_segment_id
