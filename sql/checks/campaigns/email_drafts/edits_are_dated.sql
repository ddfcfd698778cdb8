-- A draft that a person edited says which fields and when, and no other does.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/email_drafts again.
select draft_id, edited_fields, edited_at
from campaigns.email_drafts
where edited_fields is null or written_by is null or written_by = '' or (edited_fields = '') <> (edited_at is null)
