-- What sets the segments of both axes apart: mean and median of each numeric feature in the segment beside the same over
-- all customers. Customers whose value is not known are left out of that row; a feature nobody has is not there.
-- grain: axis, segment_id, metric
-- column axis: The axis the segment belongs to, stage or taste.
-- column segment_id: The segment; S0 and T0 are there when they have customers.
-- column metric: The feature, as it is called in features.customer_features.
-- column mean: Mean over the customers of the segment, in the feature's unit.
-- column median: Median over the customers of the segment, in the feature's unit.
-- column known_customers: Customers of the segment whose value is known: those the mean and the median are of.
-- column overall_mean: Mean over all customers.
-- column overall_median: Median over all customers.
with numbers as (
    select
        customer_id,
        cast(recency_days as decimal(24, 6)) as recency_days,
        cast(order_count as decimal(24, 6)) as order_count,
        cast(line_count as decimal(24, 6)) as line_count,
        cast(monetary_amount as decimal(24, 6)) as monetary_amount,
        cast(average_order_amount as decimal(24, 6)) as average_order_amount,
        cast(tenure_days as decimal(24, 6)) as tenure_days,
        cast(days_between_orders as decimal(24, 6)) as days_between_orders,
        cast(return_share as decimal(24, 6)) as return_share,
        cast(discount_share as decimal(24, 6)) as discount_share,
        cast(coupon_order_share as decimal(24, 6)) as coupon_order_share,
        cast(campaign_order_share as decimal(24, 6)) as campaign_order_share,
        cast(price_level as decimal(24, 6)) as price_level,
        cast(category_count as decimal(24, 6)) as category_count,
        cast(favourite_category_share as decimal(24, 6)) as favourite_category_share,
        cast(favourite_brand_share as decimal(24, 6)) as favourite_brand_share,
        cast(spring_share as decimal(24, 6)) as spring_share,
        cast(summer_share as decimal(24, 6)) as summer_share,
        cast(autumn_share as decimal(24, 6)) as autumn_share,
        cast(winter_share as decimal(24, 6)) as winter_share,
        cast(weekend_share as decimal(24, 6)) as weekend_share,
        cast(orders_last_90_days as decimal(24, 6)) as orders_last_90_days,
        cast(event_count as decimal(24, 6)) as event_count,
        cast(campaigns_received as decimal(24, 6)) as campaigns_received,
        cast(campaign_response_share as decimal(24, 6)) as campaign_response_share,
        cast(household_income as decimal(24, 6)) as household_income
    from features.customer_features
),

long as (
    select customer_id, metric, number
    from numbers
    unpivot (
        number for metric in (
            recency_days, order_count, line_count, monetary_amount, average_order_amount, tenure_days,
            days_between_orders, return_share, discount_share, coupon_order_share, campaign_order_share,
            price_level, category_count, favourite_category_share, favourite_brand_share, spring_share,
            summer_share, autumn_share, winter_share, weekend_share, orders_last_90_days, event_count,
            campaigns_received, campaign_response_share, household_income
        )
    )
),

-- Means are sums of decimals over counts: exact whatever the order of the rows.
figures as (
    select
        s.stage_segment_id,
        s.taste_segment_id,
        l.metric,
        round(sum(l.number) / count(*), 6) as mean,
        round(median(cast(l.number as double)), 6) as median,
        count(*) as known_customers,
        grouping(s.stage_segment_id) = 0 as is_stage,
        grouping(s.taste_segment_id) = 0 as is_taste
    from long as l
    inner join segments.customer_segments as s on s.customer_id = l.customer_id
    group by grouping sets ((s.stage_segment_id, l.metric), (s.taste_segment_id, l.metric), (l.metric))
)

select
    case when f.is_stage then 'stage' else 'taste' end as axis,
    coalesce(f.stage_segment_id, f.taste_segment_id) as segment_id,
    f.metric,
    f.mean,
    f.median,
    f.known_customers,
    o.mean as overall_mean,
    o.median as overall_median
from figures as f
inner join figures as o on o.metric = f.metric and not o.is_stage and not o.is_taste
where f.is_stage or f.is_taste
order by axis, length(segment_id), segment_id, f.metric
