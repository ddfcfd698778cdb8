-- No sensitive product has a lift: whom it suits is nobody's business.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/product_traits, campaigns/segment_purchases and campaigns/product_affinity again.
select affinity.value, affinity.axis, affinity.segment_id
from campaigns.product_affinity as affinity
inner join campaigns.product_traits as traits on traits.product_id = affinity.value
where affinity.dimension = 'product' and traits.is_sensitive
