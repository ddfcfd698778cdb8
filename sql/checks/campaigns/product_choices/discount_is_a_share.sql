-- A chosen discount is a share of the price, below all of it, and a chosen audience has customers.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: choose the product again; 0.15 is fifteen percent (`segmentation products choose ID --discount 0.15`).
select product_id, discount_share, audience_customers
from campaigns.product_choices
where discount_share < 0
   or discount_share >= 1
   or isnan(discount_share)
   or audience_customers < 1
