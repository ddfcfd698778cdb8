-- Today's customers are like those the segments were fitted on.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Launch the job recluster, or set automation.recluster_on_drift.
select axis, kind, name, reference_value, current_value, shift
from segments.drift
where is_drift
order by axis, kind, name
