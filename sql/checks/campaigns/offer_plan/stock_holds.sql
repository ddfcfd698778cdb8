-- All offers of a product together are not expected to sell more than its stock above the safety level.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/offer_plan after campaigns/promotable_products; the stock has changed since.
select
    plan.product_id, round(sum(plan.expected_buyers), 3) as expected_buyers,
    any_value(promotable.stock_quantity - promotable.safety_stock) as spare_stock
from campaigns.offer_plan as plan
inner join campaigns.promotable_products as promotable on promotable.product_id = plan.product_id
where promotable.stock_quantity is not null
group by plan.product_id
having sum(plan.expected_buyers) > any_value(promotable.stock_quantity - promotable.safety_stock) + 0.000001
