-- Who bought what in the 90 days up to the as-of date, among those who stood in each crossing of taste and stage when the
-- 90 days began (campaigns.past_audiences).
-- grain: one row per product, taste segment and stage segment with such a customer
-- column recent_buyers: customers who bought the product in the 90 days up to the as-of date
with recent as (
    select lines.product_id, lines.customer_id
    from features.order_lines as lines
    where lines.ordered_on > cast($as_of as date) - 90 and lines.product_id is not null
    group by lines.product_id, lines.customer_id
)
select recent.product_id, past.taste_segment_id, past.stage_segment_id, count(*) as recent_buyers
from recent
inner join campaigns.past_audiences as past on past.customer_id = recent.customer_id
group by recent.product_id, past.taste_segment_id, past.stage_segment_id
order by recent.product_id, past.taste_segment_id, past.stage_segment_id
