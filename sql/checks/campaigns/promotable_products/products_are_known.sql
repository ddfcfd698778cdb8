-- A promotable product is in the catalogue.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: add the product to the products table of the source, or leave it unpromoted.
select promotable.product_id
from campaigns.promotable_products as promotable
left join clean.products as products on products.product_id = promotable.product_id
where promotable.is_promotable and products.product_id is null
