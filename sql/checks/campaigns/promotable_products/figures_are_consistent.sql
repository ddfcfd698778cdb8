-- The figures of a promotable product are known and follow from its price, cost, discount, stock and sales, and where
-- products are chosen only these are promotable.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/promotable_products again; report it if its figures still disagree.
with promotable as (
    select
        product_id, is_promotable, is_chosen, discount_share, cover_days, break_even_uplift,
        list_price::double as list_price, unit_cost::double as unit_cost, offer_price::double as offer_price,
        full_margin_amount::double as full_margin, margin_amount::double as margin, margin_share,
        units_last_90_days::double as units, stock_quantity::double as stock,
        profit_before_amount::double as profit_before, profit_after_amount::double as profit_after,
        bool_or(is_chosen) over () as has_choices
    from campaigns.promotable_products
)
select product_id, list_price, unit_cost, discount_share, offer_price, margin, units, stock, cover_days
from promotable
where is_promotable
  and (
      list_price is null
      or unit_cost is null
      or discount_share is null
      or offer_price is null
      or full_margin is null
      or margin is null
      or margin_share is null
      or units is null
      or profit_before is null
      or profit_after is null
      or is_chosen is null
      or discount_share not between 0 and 0.9999999999
      or abs(offer_price - list_price * (1 - discount_share)) > 0.0001
      or abs(full_margin - (list_price - unit_cost)) > 0.0001
      or abs(margin - (offer_price - unit_cost)) > 0.0001
      or abs(margin_share * offer_price - margin) > 0.0001
      or abs(profit_before - units * full_margin) > 0.001 + 0.000001 * abs(profit_before)
      or abs(profit_after - units * margin) > 0.001 + 0.000001 * abs(profit_after)
      or (break_even_uplift is null) <> (margin <= 0)
      or abs((1 + break_even_uplift) * margin - full_margin) > 0.001
      or (cover_days is null) <> (stock is null or units <= 0)
      or abs(cover_days * units / 90 - stock) > 0.001 + 0.000001 * abs(stock)
      or cover_days < 0
      or (has_choices and not is_chosen)
  )
