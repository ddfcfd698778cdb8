-- Every product of the catalogue has one row, and its price band is one of its category.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/product_traits after clean/products and features/product_guards.
with counted as (
    select product_id, min(category) as category, min(price_band) as price_band, count(*) as trait_rows
    from campaigns.product_traits
    group by product_id
)
select coalesce(products.product_id, counted.product_id) as product_id, counted.trait_rows, counted.price_band
from counted
full join clean.products as products on products.product_id = counted.product_id
where products.product_id is null
   or counted.product_id is null
   or counted.trait_rows > 1
   or counted.price_band not in
      (counted.category || ' / low', counted.category || ' / middle', counted.category || ' / high')
   or (counted.price_band is not null and counted.category is null)
