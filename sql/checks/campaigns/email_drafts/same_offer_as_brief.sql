-- A draft offers what its brief offers: products, discount, end date and audience.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/email_drafts again; the brief changed after the draft was written.
select drafts.draft_id, drafts.brief_id, drafts.discount_share, briefs.discount_share as brief_discount_share
from campaigns.email_drafts as drafts
left join campaigns.briefs as briefs on briefs.brief_id = drafts.brief_id
where briefs.brief_id is null
   or drafts.discount_share is distinct from briefs.discount_share
   or drafts.product_ids is distinct from briefs.product_ids
   or drafts.valid_until is distinct from briefs.valid_until
   or drafts.taste_segment_id is distinct from briefs.taste_segment_id
   or drafts.stage_segment_ids is distinct from briefs.stage_segment_ids
   or drafts.audience_customers is distinct from briefs.audience_customers
