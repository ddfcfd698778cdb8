-- A fact stands once per brief, with a value and its renderings, and belongs to a brief.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/email_drafts and campaigns/draft_facts again; the briefs have changed since.
select brief_id, key, count(*) as facts
from campaigns.draft_facts
group by brief_id, key
having count(*) > 1
    or brief_id not in (select brief_id from campaigns.briefs)
    or min(length(value)) is null or min(length(value)) = 0
    or not bool_and(contains(renderings, value))
