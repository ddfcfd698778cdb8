-- Exactly one row, and nothing in it is unknown.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Materialise results/measurement_rules again.
select count(*) as rows_found, count(window_days) as known_windows
from results.measurement_rules
having count(*) <> 1
    or count(window_days) <> 1
    or count(primary_metric) <> 1
