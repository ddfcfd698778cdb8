-- An audience that a model was to describe and the embedded writer described is marked, and somebody should look.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: the model did not answer, or not well enough; the reason is in language.model_calls. Run the step again.
select audience_id, written_by
from profiles.audiences
where is_degraded
