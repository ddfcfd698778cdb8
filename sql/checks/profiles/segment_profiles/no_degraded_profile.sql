-- A profile is degraded when the embedded writer had to stand in for a model that failed.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: look at the model's calls and materialise the profiles again when it answers.
select axis, segment_id, written_by
from profiles.segment_profiles
where is_degraded
