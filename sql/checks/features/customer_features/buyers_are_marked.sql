-- Who has orders is marked as a buyer, and never_bought is the opposite of is_buyer.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Compare order_count, is_buyer and never_bought of the customer; segment S0 is made of never_bought.
select customer_id, order_count, is_buyer, never_bought
from features.customer_features
where is_buyer is null
    or never_bought is distinct from (not is_buyer)
    or (order_count > 0 and not is_buyer)
order by customer_id
