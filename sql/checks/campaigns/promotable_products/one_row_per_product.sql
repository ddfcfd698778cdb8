-- One row per product, each with the reason why it may or may not be offered.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: look at clean.products for the product; its id must be there once.
select product_id, reason
from campaigns.promotable_products
qualify count(*) over (partition by product_id) > 1 or product_id is null or reason is null or trim(reason) = ''
