-- Which product should be offered to which segment, and what margin would it bring?
-- The answer has one row per promotable product and taste segment it was matched with, the largest expected margin
-- first within the taste. The range of buyers is the uncertainty of the estimate; where beats_baseline is false, the
-- simple rule does as well and the match should not be relied on.
-- grain: taste_segment_id, product_id
-- column taste_segment_id: The taste segment.
-- column taste_name: Its name.
-- column stage_segment_ids: Stages of the audience, comma separated.
-- column product_id: The product.
-- column product_name: Its name.
-- column category: Its category.
-- column offer_price: Price per unit after the offered discount, in the source's currency.
-- column margin_share: Margin over the offer price, 0 to 1.
-- column reachable_customers: Customers of the audience who may and can be reached.
-- column expected_buyers: Expected buyers among them.
-- column low: Lower end of the range of buyers.
-- column high: Upper end of the range of buyers.
-- column expected_margin_amount: Expected margin, in the source's currency.
-- column beats_baseline: True when the match does better than the simple rule.
select
    m.taste_segment_id,
    s.name as taste_name,
    m.stage_segment_ids,
    m.product_id,
    p.name as product_name,
    p.category,
    p.offer_price,
    p.margin_share,
    m.reachable_customers,
    m.expected_buyers,
    m.low,
    m.high,
    m.expected_margin_amount,
    m.beats_baseline
from campaigns.product_segment_matches as m
inner join campaigns.promotable_products as p on p.product_id = m.product_id
left join segments.segment_summary as s on s.axis = 'taste' and s.segment_id = m.taste_segment_id
where p.is_promotable
order by m.taste_segment_id, m.expected_margin_amount desc, m.product_id
