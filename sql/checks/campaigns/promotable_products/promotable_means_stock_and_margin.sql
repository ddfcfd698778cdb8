-- A product marked promotable has stock above its safety level, holds the margin floor after its discount, and is in no
-- sensitive category.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: the rules and the mark disagree; materialise campaigns/promotable_products again and report it if it stays.
select product_id, stock_quantity, safety_stock, margin_share, margin_floor_share, is_sensitive
from campaigns.promotable_products
where is_promotable
  and (
      stock_quantity - safety_stock < 1
      or unit_cost is null
      or list_price is null
      or offer_price - unit_cost < margin_floor_share * offer_price - 0.0001
      or is_sensitive
  )
