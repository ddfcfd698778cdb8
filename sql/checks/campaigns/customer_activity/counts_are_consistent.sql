-- Counts of a part do not exceed the whole, days are not negative, and only today has no outcome.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: a join fanned out, or order lines lie after the as-of date; materialise features/order_lines and this again.
select windows_ago, customer_id, order_count, product_count, line_count, products_next, first_products_next
from campaigns.customer_activity
where orders_last_90_days > orders_last_365_days
   or orders_last_365_days > order_count
   or order_count > line_count
   or products_last_90_days > products_last_365_days
   or products_last_365_days > product_count
   or product_count > line_count
   or recency_days < 0
   or recency_days > tenure_days
   or signup_days < 0
   or (recency_days is null) <> (order_count = 0)
   or (tenure_days is null) <> (order_count = 0)
   or (products_next is null) <> (windows_ago = 0)
   or (first_products_next is null) <> (windows_ago = 0)
   or first_products_next > products_next
