-- Taste segments tell the category of the next purchase at least as well as the favourite category of each customer.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Choose offers by features.customer_features.favourite_category rather than by taste segment.
select method, metric, estimate, low, high
from segments.taste_usefulness
where method like '% minus %'
    and metric = 'category_log_loss'
    and low > 0
order by method
