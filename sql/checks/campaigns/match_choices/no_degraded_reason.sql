-- A reason that a model was to give and the embedded writer gave is marked, and somebody should look.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: the model did not answer, or not well enough; the reason is in language.model_calls. Run the step again.
select product_id, chosen_by
from campaigns.match_choices
where is_degraded
