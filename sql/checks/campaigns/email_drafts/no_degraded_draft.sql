-- Every draft was written by whom the settings ask for.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: see language.model_calls for why the model did not answer, and materialise campaigns/email_drafts again.
select draft_id, written_by
from campaigns.email_drafts
where is_degraded
