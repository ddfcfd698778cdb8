-- A brief holds age-restricted products, for known adults, or others, for everybody: never both.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/briefs after campaigns/promotable_products.
with offered as (
    select brief_id, unnest(string_split(product_ids, ',')) as product_id from campaigns.briefs
)
select offered.brief_id, offered.product_id, promotable.is_age_restricted
from offered
inner join campaigns.promotable_products as promotable on promotable.product_id = offered.product_id
where promotable.is_age_restricted is distinct from ends_with(offered.brief_id, '-adults')
