-- No customer's next best product is one that may not be offered: marked not promotable, without stock above the safety
-- level, below the margin floor, discontinued or in a sensitive category.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/next_best_products after campaigns/promotable_products; its reason column says why.
select next_best.customer_id, next_best.product_id, promotable.reason
from campaigns.next_best_products as next_best
left join campaigns.promotable_products as promotable on promotable.product_id = next_best.product_id
left join clean.products as products on products.product_id = next_best.product_id
where promotable.product_id is null
   or not promotable.is_promotable
   or promotable.is_sensitive
   or promotable.stock_quantity - promotable.safety_stock < 1
   or not coalesce(products.is_active, true)
