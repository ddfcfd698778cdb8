-- One row per customer: three standard features, their product, and the published segment for comparison.
-- The segment is a name that happens to be a digit, hence a text.
select
    user_id as customer_id,
    count_orders::double as order_count,
    (count_orders::bigint * average_spend::decimal(18, 4))::decimal(18, 4) as monetary_amount,
    average_spend::decimal(18, 4) as average_order_amount,
    return_ratio::double as return_share,
    segment_id as published_segment
from read_csv('thelook_segments.csv', header = true, all_varchar = true)
