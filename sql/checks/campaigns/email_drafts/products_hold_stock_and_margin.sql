-- No draft promotes a product without stock, below its margin floor at the draft's discount, or in a sensitive category.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise briefs and drafts after campaigns/promotable_products; a product's reason column says why.
with offered as (
    select draft_id, discount_share, unnest(string_split(product_ids, ',')) as product_id
    from campaigns.email_drafts
)
select offered.draft_id, offered.product_id, promotable.reason
from offered
left join campaigns.promotable_products as promotable on promotable.product_id = offered.product_id
where promotable.product_id is null
   or not promotable.is_promotable
   or promotable.is_sensitive
   or promotable.stock_quantity - promotable.safety_stock < 1
   or promotable.list_price * (1 - offered.discount_share) - promotable.unit_cost
      < promotable.margin_floor_share * promotable.list_price * (1 - offered.discount_share) - 0.0001
