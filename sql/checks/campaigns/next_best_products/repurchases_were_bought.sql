-- A product is marked as a repurchase exactly when the customer bought it before.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/next_best_products after features/order_lines.
with bought as (
    select distinct customer_id, product_id
    from features.order_lines
    where ordered_on <= cast($as_of as date)
)
select next_best.customer_id, next_best.product_id, next_best.is_repurchase
from campaigns.next_best_products as next_best
left join bought on bought.customer_id = next_best.customer_id and bought.product_id = next_best.product_id
where next_best.is_repurchase <> (bought.customer_id is not null)
