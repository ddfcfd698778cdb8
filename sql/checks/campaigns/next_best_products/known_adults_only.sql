-- Known minors are offered nothing, and age-restricted products go to known adults only.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/next_best_products after features/reachability and campaigns/promotable_products.
select next_best.customer_id, next_best.product_id
from campaigns.next_best_products as next_best
left join features.reachability as people on people.customer_id = next_best.customer_id
left join campaigns.promotable_products as promotable on promotable.product_id = next_best.product_id
where coalesce(people.is_minor, false)
   or (coalesce(promotable.is_age_restricted, false) and not coalesce(people.is_adult, false))
