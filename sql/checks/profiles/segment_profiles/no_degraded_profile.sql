-- A profile that a model was to write and the embedded writer wrote is marked, and somebody should look.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: the model did not answer, or not well enough; the reason is in language.model_calls. Run the step again.
select axis, segment_id, written_by
from profiles.segment_profiles
where is_degraded
