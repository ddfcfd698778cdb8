-- How strongly each pair of numeric customer features moves together: Spearman's rank correlation (Pearson's formula on
-- ranks, ties given their mean rank), over a fixed sample of at most 20,000 customers (the smallest MD5 of the id).
-- Ranks are taken over the sampled customers who have the feature; a pair is computed over those who have both.
-- Pairs with fewer than 10 such customers, and features that never vary, have no row.
-- grain: feature_a, feature_b
-- column feature_a: The first feature of the pair, by name.
-- column feature_b: The second feature of the pair, by name.
-- column correlation: Spearman's rank correlation, -1 to 1.
-- column customers: Sampled customers who have both features.
with sample as (
    select *
    from features.customer_features
    order by md5(customer_id), customer_id
    limit 20000
),

numbers as (
    select
        customer_id,
        cast(recency_days as double) as recency_days,
        cast(order_count as double) as order_count,
        cast(monetary_amount as double) as monetary_amount,
        cast(average_order_amount as double) as average_order_amount,
        cast(tenure_days as double) as tenure_days,
        cast(days_between_orders as double) as days_between_orders,
        cast(return_share as double) as return_share,
        cast(discount_share as double) as discount_share,
        cast(coupon_order_share as double) as coupon_order_share,
        cast(campaign_order_share as double) as campaign_order_share,
        cast(price_level as double) as price_level,
        cast(category_count as double) as category_count,
        cast(favourite_category_share as double) as favourite_category_share,
        cast(favourite_brand_share as double) as favourite_brand_share,
        cast(weekend_share as double) as weekend_share,
        cast(orders_last_90_days as double) as orders_last_90_days,
        cast(event_count as double) as event_count,
        cast(days_since_event as double) as days_since_event,
        cast(campaign_response_share as double) as campaign_response_share,
        cast(education_rank as double) as education_rank,
        cast(household_income as double) as household_income,
        cast(kids as double) as kids,
        cast(teens as double) as teens,
        cast(loyalty_points as double) as loyalty_points,
        cast(discount_sensitivity as double) as discount_sensitivity,
        cast(luxury_score as double) as luxury_score
    from sample
),

long as (
    select customer_id, feature, number
    from numbers
    unpivot (
        number for feature in (
            recency_days, order_count, monetary_amount, average_order_amount, tenure_days, days_between_orders,
            return_share, discount_share, coupon_order_share, campaign_order_share, price_level, category_count,
            favourite_category_share, favourite_brand_share, weekend_share, orders_last_90_days, event_count,
            days_since_event, campaign_response_share, education_rank, household_income, kids, teens,
            loyalty_points, discount_sensitivity, luxury_score
        )
    )
),

-- Twice the mean rank is a whole number, so every sum below is exact whatever the order of the rows.
ranked as (
    select
        customer_id,
        feature,
        2 * rank() over (partition by feature order by number)
            + count(*) over (partition by feature, number) - 1 as doubled_rank
    from long
),

sums as (
    select
        a.feature as feature_a,
        b.feature as feature_b,
        count(*) as customers,
        cast(count(*) * sum(a.doubled_rank * a.doubled_rank) - sum(a.doubled_rank) * sum(a.doubled_rank) as double)
            as spread_a,
        cast(count(*) * sum(b.doubled_rank * b.doubled_rank) - sum(b.doubled_rank) * sum(b.doubled_rank) as double)
            as spread_b,
        cast(count(*) * sum(a.doubled_rank * b.doubled_rank) - sum(a.doubled_rank) * sum(b.doubled_rank) as double)
            as spread_ab
    from ranked as a
    inner join ranked as b on b.customer_id = a.customer_id and a.feature < b.feature
    group by a.feature, b.feature
)

select
    feature_a,
    feature_b,
    round(spread_ab / (sqrt(spread_a) * sqrt(spread_b)), 6) as correlation,
    customers
from sums
where customers >= 10
    and spread_a > 0
    and spread_b > 0
order by feature_a, feature_b
