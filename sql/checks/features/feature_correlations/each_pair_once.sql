-- Each pair of features has one row, named in order, with a correlation between -1 and 1.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: Look at the named pair in segmentation/correlations.py.
select feature_a, feature_b, count(*) as copies, min(correlation) as lowest, max(correlation) as highest
from features.feature_correlations
group by feature_a, feature_b
having count(*) > 1
    or feature_a >= feature_b
    or coalesce(not min(correlation) between -1 and 1, true)
    or coalesce(not max(correlation) between -1 and 1, true)
order by feature_a, feature_b
