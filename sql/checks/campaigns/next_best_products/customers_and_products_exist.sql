-- Next best products are products of the catalogue, for customers who have segments.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/next_best_products after segments/customer_segments and clean/products.
select next_best.customer_id, next_best.rank, next_best.product_id
from campaigns.next_best_products as next_best
left join segments.customer_segments as customers on customers.customer_id = next_best.customer_id
left join clean.products as products on products.product_id = next_best.product_id
where customers.customer_id is null or products.product_id is null
