-- A recipient's own products may be offered, are at most three different ones, are not in the campaign anyway, and
-- age-restricted ones go to known adults alone; so do campaigns with age-restricted products.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/promotable_products and campaigns/next_best_products, then delivery/plan.
with planned as (
    select
        plan.customer_id, string_split(plan.product_ids, ',') as own, string_split(briefs.product_ids, ',') as shown,
        plan.product_ids, coalesce(reachability.is_adult, false) as is_adult
    from delivery.plan as plan
    left join campaigns.briefs as briefs on briefs.brief_id = plan.campaign_id
    left join features.reachability as reachability on reachability.customer_id = plan.customer_id
    where plan.decision <> 'excluded'
),

restricted as (
    select list(product_id) as product_ids from campaigns.promotable_products where is_age_restricted
),

refused as (
    select list(product_id) as product_ids from campaigns.promotable_products where not is_promotable
),

known as (
    select coalesce(list(product_id), []) as product_ids from campaigns.promotable_products
)

select planned.customer_id, planned.product_ids
from planned
cross join restricted
cross join refused
cross join known
where (not planned.is_adult and list_has_any(planned.shown, coalesce(restricted.product_ids, [])))
    or (
        planned.product_ids <> ''
        and (
            len(planned.own) > 3
            or len(list_distinct(planned.own)) < len(planned.own)
            or list_has_any(planned.own, planned.shown)
            or list_has_any(planned.own, coalesce(refused.product_ids, []))
            or not list_has_all(known.product_ids, planned.own)
            or (not planned.is_adult and list_has_any(planned.own, coalesce(restricted.product_ids, [])))
        )
    )
