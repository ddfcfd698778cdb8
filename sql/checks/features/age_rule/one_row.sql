-- One row that says what an unknown age counts as.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise features/age_rule again.
select count(*) as found, count(unknown_age_is_minor) as known
from features.age_rule
having count(*) <> 1 or count(unknown_age_is_minor) <> 1
