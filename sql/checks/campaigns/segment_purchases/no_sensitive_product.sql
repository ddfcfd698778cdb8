-- No purchase of a sensitive product is counted.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise features/order_lines and campaigns/product_traits after features/product_guards, then this table.
select purchases.value, purchases.axis, purchases.segment_id
from campaigns.segment_purchases as purchases
inner join campaigns.product_traits as traits on traits.product_id = purchases.value
where purchases.dimension = 'product' and traits.is_sensitive
