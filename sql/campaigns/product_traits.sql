-- What a product is known by before anybody bought it: category, brand and price band. The band is the product's place
-- among the prices of its category in the catalogue: below the first third of them low, above the second third high.
-- The price is the list price, else the median price paid. With fewer than 3 priced products a category has one band.
-- grain: product_id
-- column category: Category of the product; null when not known.
-- column brand: Brand of the product; null when not known.
-- column price_band: Category and low, middle or high; null when category or price is not known.
-- column is_active: True when the product is on sale.
-- column is_sensitive: True for goods of a sensitive category, which are never matched or offered.
with priced as (
    select
        products.product_id,
        nullif(products.category, 'unknown') as category,
        nullif(products.brand, 'unknown') as brand,
        cast(coalesce(products.list_price, sales.median_unit_price) as double) as price,
        coalesce(products.is_active, true) as is_active,
        coalesce(guards.is_sensitive, false) as is_sensitive
    from clean.products as products
    left join campaigns.product_sales as sales on sales.product_id = products.product_id
    left join features.product_guards as guards on guards.product_id = products.product_id
),
bands as (
    select
        category,
        count(price) as priced_products,
        quantile_cont(price, 1.0 / 3) as low_price,
        quantile_cont(price, 2.0 / 3) as high_price
    from priced
    where category is not null
    group by category
)
select
    priced.product_id,
    priced.category,
    priced.brand,
    case
        when bands.priced_products < 3 then priced.category || ' / middle'
        when priced.price < bands.low_price then priced.category || ' / low'
        when priced.price > bands.high_price then priced.category || ' / high'
        when priced.price is not null then priced.category || ' / middle'
    end as price_band,
    priced.is_active,
    priced.is_sensitive
from priced
left join bands on bands.category = priced.category
order by priced.product_id
